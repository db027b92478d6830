"""Data that change behind the same pin: every command says so, and there is a way out."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import sandbox, tiny, trained

from beft import code_identity
from beft.cli import operations
from beft.cli.data import fetch
from beft.data.mirror.stock import stock
from beft.errors import UserError
from beft.operations import verify as verifying
from beft.operations import verify_runs
from beft.operations.left import left_of
from beft.operations.problem import repair
from beft.operations.verify import problems
from beft.report.frames.collect import collect
from beft.store import accepted_code
from beft.store.files import read_json, remove, to_json
from beft.store.run_folder import open_run
from beft.study.identity import sha256
from beft.study.project import Project, load
from beft.training import pack as runner

TASK = {
    "hub": "own/mine",
    "revision": "r",
    "text": ["sentence"],
    "labels": ["bad", "good"],
    "metric": "accuracy",
    "regimes": {"low": 8},
    "learning_rate": 1e-2,
    "epochs": 1,
}
PARAMS = sandbox.PARAMS | {
    "tasks": {"mine": TASK},
    "models": {name: {"path": f"models/{name}"} for name in ("tiny", "other")},
}
STUDY = sandbox.STUDY | {"tasks": ["mine"], "techniques": ["b_v"], "selectors": []}


def rows(folder: Path, first: int = 0) -> None:
    """A mirror that was filled by hand, with this label in the first row of the training split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        labels = [first if split == "train" else 0, *(i % 2 for i in range(1, 12))]
        texts = [f"a {'good' if i % 2 else 'bad'} film {i}" for i in range(12)]
        pq.write_table(pa.table({"sentence": texts, "label": labels}), folder / f"{split}.parquet")


@pytest.fixture(autouse=True)
def this_code(monkeypatch):
    """The code is not what is verified here, and may be in the middle of a change."""
    code = code_identity.code_digest()
    monkeypatch.setattr(accepted_code, "accepted", lambda: [code])
    monkeypatch.delenv("BEFT_MIRROR", raising=False)


@pytest.fixture
def project(tmp_path) -> Project:
    """A project with one finished run."""
    sandbox.make(tmp_path, PARAMS, STUDY)
    tiny.checkpoint("bert", tmp_path / "models" / "other", seed=1)
    rows(tmp_path / "data/mirror/datasets/own/mine")
    return trained.everything(tmp_path)


def told(project: Project, words: str) -> list[str]:
    """What `beft verify` says of data, packs and runs that has these words in it."""
    return [problem.line for problem in problems(project) if words in problem.line]


def test_changed_data_are_told_by_every_command_and_repaired_once(project):
    (recipe,), (pack,) = project.recipes, project.packs.values()
    run, source = open_run(project.layout, recipe), project.layout.source(recipe)
    assert told(project, "data/runs") == [] == told(project, "data/mirror")
    assert stock(project, ["mine"], []).missing == []

    mirrored = project.layout.mirror / "datasets/own/mine"
    rows(mirrored, first=1)
    words = (
        f"{mirrored / 'train.parquet'}: not the file that {source} was made from; restore it, or"
    )
    (missing,) = stock(project, ["mine"], []).missing
    (problem,) = told(project, "data/mirror")
    assert missing == problem and problem.startswith(words)
    assert told(project, "data/runs") == [] and left_of(project.layout, pack).runs == []

    remove(source)
    fetch(params=project.root / "params.yaml")
    assert stock(project, ["mine"], []).missing == [] == told(project, "data/mirror")
    words = f"trained on other data than {source} should have; restore those, or set the run aside"
    (problem,) = told(project, "data/runs")
    assert problem.startswith(f"{run.folder}: {words}")
    left = left_of(project.layout, pack)
    assert left.runs == [recipe] and left.refused[str(run.folder)].startswith(words)
    frames = collect(project)
    assert frames.runs["status"].tolist() == ["failed"] and frames.runs["best"].isna().all()
    assert frames.problems["reason"].str.startswith(words).all()
    manifest = project.layout.pack(pack.manifest())
    with pytest.raises(UserError, match="trained on other data than"):
        runner.run_pack(project.layout, pack, manifest)

    repair(project, problems(project))
    assert not run.folder.exists() and not manifest.exists()
    assert (project.layout.work(f"{recipe.digest}.refused") / "metrics.json").is_file()
    trained.everything(project.root)
    assert told(project, "data/") == []
    assert left_of(project.layout, pack).runs == []
    assert collect(project).runs["status"].tolist() == ["ok"]


def test_data_that_are_restored_make_their_runs_count_again(project):
    (recipe,) = project.recipes
    mirrored, source = project.layout.mirror / "datasets/own/mine", project.layout.source(recipe)
    for first, expected in ((1, "failed"), (0, "ok")):
        rows(mirrored, first)
        remove(source)
        fetch(params=project.root / "params.yaml")
        assert collect(project).runs["status"].tolist() == [expected]


def test_exchanged_markers_are_refused_and_fetched_again(project):
    sandbox.change(project.root / "studies/mini.yaml", "models", to=["tiny", "other"])
    fetch(params=project.root / "params.yaml")
    project = load(project.root / "params.yaml")
    one, two = (project.layout.folder("models") / key for key in project.models())
    kept = one.read_bytes(), two.read_bytes()
    one.write_bytes(kept[1])
    two.write_bytes(kept[0])
    words = "lists other weights than its name says; run 'beft fetch --model"
    assert len(told(project, words)) == 2
    assert len(stock(project, [], ["tiny", "other"]).missing) == 2
    for key, pack in project.packs.items():
        with pytest.raises(UserError, match=words):
            runner.run_pack(project.layout, pack, project.layout.pack(key))
    assert told(project, "trained on other weights") == []  # the run is of the right ones
    fetch(params=project.root / "params.yaml")
    assert (one.read_bytes(), two.read_bytes()) == kept


def test_a_marker_that_points_elsewhere_is_told_from_one_of_other_weights(project):
    (key,) = project.models()
    marker = project.layout.folder("models") / key
    kept = marker.read_bytes()
    marker.write_bytes(to_json(read_json(marker) | {"path": "models/other"}))
    (line,) = told(project, "data/models")
    assert "says that the model is in models/other, params.yaml in models/tiny; run 'beft" in line
    fetch(params=project.root / "params.yaml")
    assert marker.read_bytes() == kept and told(project, "data/models") == []
    for place in ({"mirror": "models/own/x"}, {"path": None}, {"path": ["x"]}, {}):
        noted = {k: v for k, v in read_json(marker).items() if k == "sha256"}
        marker.write_bytes(to_json(noted | place))
        (line,) = told(project, "data/models")
        assert "says that the model is in" in line and "\n" not in line
        marker.write_bytes(kept)


def test_a_run_that_was_trained_under_an_exchanged_marker_is_found_later(project):
    (recipe,) = project.recipes
    folder = project.layout.run(recipe)
    origin = read_json(folder / "provenance.json")
    origin["inputs"]["model"]["model.safetensors"] = "0" * 64
    sandbox.reseal(folder, {"provenance.json": origin})
    assert told(project, "trained on other weights than those of its recipe; restore those, or")
    assert collect(project).runs["status"].tolist() == ["failed"]


def test_exchanged_datasets_are_refused_and_made_again(project):
    source = project.layout.source(project.recipes[0])
    other = source.with_name("0" * 16)
    source.rename(other)
    sandbox.change(project.root / "params.yaml", "tasks", "mine", "revision", to="another")
    fetch(params=project.root / "params.yaml")
    changed = load(project.root / "params.yaml")
    made = changed.layout.source(changed.recipes[0])
    made.rename(source)  # the dataset of the other revision
    other.rename(made)
    for each, place in ((project, source), (changed, made)):
        (key, pack), *_ = each.packs.items()
        words = f"{place}: source.json is of another dataset than the folder's name says"
        assert told(each, words) and stock(each, ["mine"], []).missing[0].startswith(words)
        with pytest.raises(UserError, match="of another dataset than the folder's name says"):
            runner.run_pack(each.layout, pack, each.layout.pack(key))
    fetch(params=project.root / "params.yaml")
    assert not told(changed, "of another dataset")


METRICS = {
    "a better metric": (("splits", "validation", "best"), 0.99, "accuracy of validation (best)"),
    "another last one": (("splits", "validation", "last"), 0.01, "accuracy of validation (last)"),
    "another best epoch": (("best_epoch",), 7, "best_epoch is 7, but the run's other files give 1"),
    "more epochs": (("epochs",), 9, "epochs is 9, but the run's other files give 1"),
    "more examples": (("train_examples",), 9, "train_examples is 9, but"),
    "another metric": (("metric",), "f1", "metric is f1, but"),
    "a metric of a run that diverged": (("status",), "diverged", "gives metrics, but the run"),
}


@pytest.mark.parametrize("case", METRICS)
def test_metrics_that_were_edited_are_found_whatever_was_sealed(project, case):
    """With history and all checksums made to fit, those of the manifest too."""
    keys, value, words = METRICS[case]
    (recipe,), folder = project.recipes, project.layout.run(project.recipes[0])
    metrics = read_json(folder / "metrics.json")
    place = metrics
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    sandbox.reseal(folder, {"metrics.json": metrics})
    (problem, *_) = problems(project)
    assert problem.line.startswith(f"{folder}: metrics.json") and words in problem.line
    assert problem.redo == (folder, project.layout.pack(project.pack_of(recipe)))


def test_metrics_and_history_that_agree_are_not_enough(project):
    folder = project.layout.run(project.recipes[0])
    metrics = read_json(folder / "metrics.json")
    metrics["splits"]["validation"] = {"best": 0.99, "last": 0.99}
    history = "epoch,train_loss,validation/accuracy\n1,0.5,0.99\n"
    (folder / "history.csv").write_text(history)
    sandbox.reseal(folder, {"metrics.json": metrics})
    (line,) = told(project, "data/runs")
    assert "accuracy of validation (last) is 0.99, but the run's predictions give" in line


def test_what_examples_add_to_the_metric_follows_from_predictions(project):
    from safetensors.numpy import load_file, save_file

    folder = project.layout.run(project.recipes[0])
    kept = {k: 1 - v for k, v in load_file(folder / "examples.safetensors").items()}
    save_file(kept, folder / "examples.safetensors")
    sandbox.reseal(folder, {})
    (line,) = told(project, "data/runs")
    assert "examples.safetensors: not what the predictions on validation (last) add" in line


PREDICTIONS = {
    "one for all examples": "predictions.safetensors: 1 predictions on 12 of validation",
    "no tensors": "metrics.json does not fit the run's other files",
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_predictions_that_are_not_those_of_the_split_are_found(project, case):
    from safetensors.numpy import load_file, save_file

    folder = project.layout.run(project.recipes[0])
    path = folder / "predictions.safetensors"
    if case == "one for all examples":
        save_file({name: values[:1] for name, values in load_file(path).items()}, path)
    else:
        path.write_bytes(b"junk")
    sandbox.reseal(folder, {})
    (line,) = told(project, "data/runs")
    assert PREDICTIONS[case] in line


def forged(folder: Path, name: str, content: object) -> None:
    """Writes a JSON file of a run and its checksums, but not those in its manifest."""
    (folder / name).write_bytes(to_json(content))
    sums = {each: sha256(folder / each) for each in read_json(folder / "checksums.json")}
    (folder / "checksums.json").write_bytes(to_json(sums))


def test_a_forged_run_is_set_aside_and_trained_again(project):
    (recipe,), (key,) = project.recipes, project.packs
    run, manifest = open_run(project.layout, recipe), project.layout.pack(key)
    metrics = read_json(run.folder / "metrics.json")
    forged(run.folder, "metrics.json", metrics | {"trainable_params": 7})
    (problem,) = (p for p in problems(project) if "not the run that" in p.line)
    assert problem.redo == (run.folder, manifest)
    repair(project, problems(project))
    assert not run.folder.exists() and not manifest.exists()
    trained.everything(project.root)
    assert told(project, "data/runs") == []
    assert read_json(run.folder / "metrics.json") == metrics


@pytest.mark.parametrize("checksum", ["0" * 64, None])
def test_a_manifest_alone_is_removed_where_the_run_is_right(project, checksum):
    (key,) = project.packs
    manifest = project.layout.pack(key)
    content = read_json(manifest)
    if checksum:  # another study's pack has the same run
        manifest.with_name("other.json").write_bytes(to_json(content))
    content["runs"][0]["checksums"] = checksum
    manifest.write_bytes(to_json(content))
    (problem,) = (p for p in problems(project) if "not the run that" in p.line)
    assert problem.redo == (manifest,)


@pytest.mark.parametrize("name", ["metrics.json", "provenance.json"])
@pytest.mark.parametrize("content", [[], {}])
def test_a_file_of_a_run_that_lacks_what_is_read_is_damaged(project, name, content):
    (recipe,), (pack,) = project.recipes, project.packs.values()
    run = open_run(project.layout, recipe)
    sandbox.reseal(run.folder, {name: content})
    assert told(project, f"{run.folder}: {name} is damaged (")
    left = left_of(project.layout, pack)
    assert left.refused[str(run.folder)].startswith(f"{name} is damaged (")
    repair(project, problems(project))
    trained.everything(project.root)
    assert told(project, "data/runs") == [] == left_of(project.layout, pack).runs


@pytest.mark.parametrize("level", [0, 3])
def test_a_file_where_a_run_belongs_is_told_by_its_name(project, level):
    (recipe,), ((key, pack),) = project.recipes, project.packs.items()
    folder = project.layout.run(recipe)
    path = (folder, *folder.parents)[level]
    remove(path)
    path.write_text("")
    said = [line for line in told(project, "data/runs") if "not the run" not in line]
    assert said == [f"{path}: a file lies where a run's folder belongs; remove it"]
    words = f"{path}: a file lies where a folder belongs; remove it"
    with pytest.raises(UserError, match=words):
        runner.run_pack(project.layout, pack, project.layout.pack(key))
    path.unlink()
    trained.everything(project.root)
    assert told(project, "data/runs") == []


def test_a_damaged_source_is_its_own_problem_and_no_runs(project):
    (recipe,), (pack,) = project.recipes, project.packs.values()
    source = project.layout.source(recipe)
    forged(source, "source.json", [])
    words = f"{source}: source.json is damaged; run 'beft fetch --task mine'"
    assert told(project, "data/sources") == [words] and told(project, "data/runs") == []
    assert left_of(project.layout, pack).runs == []
    repair(project, problems(project))
    fetch(params=project.root / "params.yaml")
    assert open_run(project.layout, recipe).status == "ok" and told(project, "data/sources") == []


def test_runs_that_differ_in_precision_are_a_remark_and_no_error(project, capsys, monkeypatch):
    """A run's numbers belong to its recipe in either precision, and tables mark the cell."""
    (recipe,) = project.recipes
    real = verify_runs.computed

    def two(run):
        found = real(run)
        return replace(found, setting="auto", precision=next(given))

    given = iter(["float32", "bfloat16"])
    monkeypatch.setattr(verify_runs, "computed", two)
    twice = replace(project)
    vars(twice)["recipes"] = [recipe, recipe]
    (found,) = (p for p in problems(twice) if "precision" in p.line)
    assert not found.wrong and not found.redo
    assert found.line.endswith("/b_v: 1 float32, 1 bfloat16")
    given = iter([""])
    (found,) = (p for p in problems(project) if "precision" in p.line)
    assert found.line == "unknown precision: 1 of 1 runs do not record theirs" and not found.wrong
    found = replace(found, line="a remark")
    monkeypatch.setattr(verifying, "problems", lambda project: [found])
    operations.verify(params=project.root / "params.yaml")
    told = capsys.readouterr()
    assert told.err == "beft: a remark\n" and "are what their recipes say" in told.out
