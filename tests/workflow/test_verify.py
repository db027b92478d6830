"""`beft verify` on a finished project into which one lie was planted: it fails and says where."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beft import code_identity
from beft.cli import app
from beft.store import accepted_code
from beft.study.identity import sha256


def one(project: Path, pattern: str) -> Path:
    (path,) = project.glob(pattern)
    return path


def run_of(project: Path, technique: str) -> Path:
    return one(project, f"data/runs/tiny/demo_sentiment/low/{technique}/seed-0/*")


def flip(path: Path) -> None:
    """Another last byte."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(path: Path, act: Callable) -> None:
    """Changes JSON by `act`."""
    data = json.loads(path.read_text())
    act(data)
    path.write_text(json.dumps(data))


def reseal(folder: Path) -> None:
    """What a careful forger does: checksums that fit the edited files."""
    path = folder / "checksums.json"
    sums = {name: sha256(folder / name) for name in json.loads(path.read_text())}
    path.write_text(json.dumps(sums))


def forge(project: Path, technique: str, name: str, act: Callable) -> None:
    edit(run_of(project, technique) / name, act)
    reseal(run_of(project, technique))


def better(metrics: dict) -> None:
    metrics["splits"]["validation"]["best"] = 0.99


def swap(project: Path) -> None:
    one_, two = run_of(project, "b_v"), run_of(project, "b_q")
    aside = project / "aside"
    one_.rename(aside)
    two.rename(one_)
    aside.rename(two)


def other_rows(project: Path) -> None:
    path = one(project, "data/subsets/**/*.parquet")
    rows = pq.read_table(path)["row"].to_pylist()
    pq.write_table(pa.table({"row": rows[::-1]}), path)


def other_label(project: Path) -> None:
    """A source in which one label differs, resealed."""
    path = one(project, "data/sources/*/*/train.parquet")
    table = pq.read_table(path)
    labels = table["label"].to_pylist()
    column = pa.array([1 - labels[0], *labels[1:]], table["label"].type)
    pq.write_table(table.set_column(table.column_names.index("label"), "label", column), path)
    reseal(path.parent)


def skip(manifest: dict) -> None:
    """A run that is lost, declared as left out."""
    manifest["runs"][0] |= {"status": "skipped", "reason": "inert", "checksums": None}


def lose_and_skip(project: Path) -> None:
    path = one(project, "data/packs/**/*.json")
    edit(path, skip)
    shutil.rmtree(project / "data" / "runs" / json.loads(path.read_text())["runs"][0]["folder"])


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


PACK, SCORES = "data/packs/**/*.json", f"data/scores/**/{'[0-9a-f]' * 16}.csv"
EPOCHS, GRADIENTS = "data/scores/**/*.epochs.csv", "data/scores/**/*.gradients.csv"
# What was planted -> the act, and what the line says: file or folder, then the trouble.
LIES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a flipped byte": (
        lambda p: flip(run_of(p, "b_v") / "biases.safetensors"),
        "/b_v/seed-0/",
        "biases.safetensors is damaged",
    ),
    "a truncated file": (
        lambda p: truncate(run_of(p, "b_q") / "metrics.json"),
        "/b_q/seed-0/",
        "metrics.json is damaged",
    ),
    "an empty file": (
        lambda p: (run_of(p, "b_v") / "history.csv").write_bytes(b""),
        "/b_v/seed-0/",
        "history.csv is damaged",
    ),
    "a missing file": (
        lambda p: (run_of(p, "untuned") / "gradients.safetensors").unlink(),
        "/untuned/seed-0/",
        "gradients.safetensors is missing",
    ),
    "a missing run": (lambda p: shutil.rmtree(run_of(p, "b_v")), "/b_v/seed-0/", "missing"),
    "no checksums": (
        lambda p: (run_of(p, "b_v") / "checksums.json").write_text("{}"),
        "/b_v/seed-0/",
        "checksums.json names no file",
    ),
    "truncated checksums": (
        lambda p: truncate(run_of(p, "b_v") / "checksums.json"),
        "/b_v/seed-0/",
        "checksums.json is damaged",
    ),
    "swapped runs": (swap, "/b_v/seed-0/", "recipe.json is not the recipe of this folder's name"),
    "an edited recipe": (
        lambda p: forge(p, "b_v", "recipe.json", lambda r: r["training"].update(learning_rate=9)),
        "/b_v/seed-0/",
        "recipe.json is not the recipe of this folder's name",
    ),
    "an edited metric": (
        lambda p: forge(p, "b_q", "metrics.json", better),
        "/b_q/seed-0/",
        "not the run that",
    ),
    "a run of other code": (
        lambda p: forge(p, "b_v", "provenance.json", lambda r: r.update(code="f" * 16)),
        "/b_v/seed-0/",
        "trained by code ffffffffffffffff",
    ),
    "a run of other weights": (
        lambda p: forge(p, "b_v", "provenance.json", lambda r: r["inputs"]["model"].clear()),
        "/b_v/seed-0/",
        "trained on other weights than",
    ),
    "a manifest of other runs": (
        lambda p: edit(one(p, PACK), lambda m: m["runs"].pop()),
        "data/packs/",
        "does not cover the runs",
    ),
    "a manifest with another checksum": (
        lambda p: edit(one(p, PACK), lambda m: m["runs"][1].update(checksums="0" * 64)),
        "/b_q/seed-0/",
        "not the run that",
    ),
    "a manifest that is none": (
        lambda p: one(p, PACK).write_text("[1]"),
        "data/packs/",
        "damaged (not a manifest)",
    ),
    "a truncated manifest": (lambda p: truncate(one(p, PACK)), "data/packs/", "damaged"),
    "a missing manifest": (lambda p: one(p, PACK).unlink(), "data/packs/", "no such file"),
    "a lost run declared left out": (lose_and_skip, "/b_v/seed-0/", "missing"),
    "an edited score": (
        lambda p: replace(one(p, SCORES), ",1,", ",2,"),
        "data/scores/",
        "not what its runs' snapshots give",
    ),
    "an edited score of an epoch": (
        lambda p: replace(one(p, EPOCHS), ",projection,1,", ",projection,7,"),
        "data/scores/",
        "not what its runs' snapshots give",
    ),
    "a missing file of gradients": (
        lambda p: one(p, GRADIENTS).unlink(),
        "data/scores/",
        "missing",
    ),
    "a missing score": (lambda p: one(p, SCORES).unlink(), "data/scores/", "missing"),
    "a damaged source": (
        lambda p: flip(one(p, "data/sources/*/*/train.parquet")),
        "data/sources/demo_sentiment/",
        "train.parquet is damaged",
    ),
    "another source": (other_label, "/b_v/seed-0/", "trained on other data than"),
    "other rows in a subset": (other_rows, "data/subsets/demo_sentiment/", "lists other rows"),
    "a damaged subset": (
        lambda p: truncate(one(p, "data/subsets/**/*.parquet")),
        "data/subsets/demo_sentiment/",
        "not readable",
    ),
    "a missing subset": (
        lambda p: one(p, "data/subsets/**/*.parquet").unlink(),
        "data/subsets/demo_sentiment/",
        "missing",
    ),
    "other weights": (
        lambda p: flip(one(p, "data/mirror/models/owner/tiny/model.safetensors")),
        "model.safetensors",
        "not what was fetched",
    ),
    "an edited runs.csv": (
        lambda p: replace(p / "reports" / "runs.csv", "0.01,", "0.02,"),
        "reports/runs.csv",
        "not what the runs say",
    ),
    "an edited metrics.json": (
        lambda p: edit(p / "reports" / "metrics.json", lambda m: m["runs"].update(ok=9)),
        "reports/metrics.json",
        "not what the runs say",
    ),
    "an edited table": (
        lambda p: replace(p / "reports" / "tables" / "table1.csv", "demo_sentiment", "sst2"),
        "reports/tables/table1.csv",
        "not what the runs say",
    ),
    "an edited page": (
        lambda p: replace(p / "reports" / "index.html", "<h1", "<h1 "),
        "reports/index.html",
        "not what the runs say",
    ),
    "a truncated figure": (
        lambda p: truncate(p / "reports" / "figures" / "figure1.pdf"),
        "reports/figures/figure1.pdf",
        "is damaged",
    ),
    "an emptied figure": (
        lambda p: (p / "reports" / "figures" / "figure1.svg").write_bytes(b""),
        "reports/figures/figure1.svg",
        "is damaged",
    ),
    "a missing figure": (
        lambda p: (p / "reports" / "figures" / "figure1.png").unlink(),
        "reports/figures/figure1.png",
        "not what the runs say",
    ),
    "truncated checksums of reports": (
        lambda p: truncate(p / "reports" / "checksums.json"),
        "reports/checksums.json",
        "is damaged",
    ),
    "an emptied stamp": (
        lambda p: one(p, "data/collected/*").write_bytes(b""),
        "data/collected/",
        "damaged",
    ),
    "a truncated marker": (
        lambda p: truncate(one(p, "data/models/*/*.json")),
        "data/models/tiny/",
        "damaged",
    ),
    "a marker that is none": (
        lambda p: one(p, "data/models/*/*.json").write_text("[]"),
        "data/models/tiny/",
        "damaged",
    ),
    "a marker of another model": (
        lambda p: edit(
            one(p, "data/models/*/*.json"), lambda m: m.update(mirror="models/owner/other")
        ),
        "data/models/tiny/",
        "says that the model is in models/owner/other, which is not its own",
    ),
    "a source of another dataset": (
        lambda p: (
            edit(one(p, "data/sources/*/*/source.json"), lambda s: s["source"].update(label="x")),
            reseal(one(p, "data/sources/*/*")),
        ),
        "data/sources/demo_sentiment/",
        "of another dataset than the folder's name says",
    ),
    "a missing table": (
        lambda p: (p / "reports" / "tables" / "selection.tex").unlink(),
        "reports/tables/selection.tex",
        "not what the runs say",
    ),
}


@pytest.fixture
def verify(project, monkeypatch, capfd) -> Callable[..., tuple[int, list[str]]]:
    """Calls `beft verify` in this process: exit status, and the lines of complaint."""
    code = code_identity.code_digest()
    monkeypatch.setattr(code_identity, "code_digest", lambda: code)
    monkeypatch.setattr(accepted_code, "accepted", lambda: [code])
    monkeypatch.delenv("BEFT_MIRROR", raising=False)
    monkeypatch.chdir(project)

    def call(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr("sys.argv", ["beft", "verify", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return ended.value.code or 0, capfd.readouterr().err.splitlines()

    return call


def test_nothing_to_complain_about(verify):
    assert verify() == (0, [])


@pytest.mark.parametrize("lie", LIES)
def test_a_planted_lie_is_found(project, verify, lie):
    act, where, what = LIES[lie]
    act(project)
    status, lines = verify()
    assert status == 1
    assert any(line.startswith("beft: ") and where in line and what in line for line in lines), (
        lines
    )
    assert "problem" in lines[-1]


def test_results_outlive_the_weights(project, verify):
    """Who pulled results and has no model may verify them."""
    shutil.rmtree(project / "data" / "mirror")
    assert verify() == (0, [])
    shutil.rmtree(project / "data" / "models")
    assert verify() == (0, [])


def test_edited_code_is_named_with_the_two_ways_on(verify, monkeypatch):
    monkeypatch.setattr(code_identity, "code_digest", lambda: "0" * 16)
    status, lines = verify()
    assert status == 1
    assert "edited" in lines[0] and "RECIPE_VERSION" in lines[0] and "--accept-code" in lines[0]
    assert len(lines) == 2  # the runs are still those of the code that is accepted


def test_a_recipe_version_without_declared_code(verify, monkeypatch):
    monkeypatch.setattr(accepted_code, "accepted", lambda: [])
    status, lines = verify()
    assert status == 1
    assert "no code is declared for recipe version" in lines[0] and "--accept-code" in lines[0]


@pytest.mark.parametrize("lie", LIES)
def test_repair_removes_exactly_what_is_wrong(project, verify, lie):
    """After a repair nothing false is left that snakemake would take for done."""
    LIES[lie][0](project)
    pack = one(project, PACK) if lie != "a missing manifest" else None
    verify("--repair")
    # packs with lost, damaged or foreign runs are to be redone; the others stay
    where = LIES[lie][1]
    damaged = "seed-0" in where or "packs" in where
    # a source that is not what its name says casts doubt on the runs that were trained on it
    if pack is not None:
        assert pack.exists() != (damaged or lie == "a source of another dataset")
    foreign = ("another source", "a run of other code", "a run of other weights")
    if lie in foreign:  # whole, so that no job would train it again
        assert len(list(project.glob("data/work/*.refused/metrics.json"))) >= 1
    if "data/sources" in where:
        assert not list(project.glob("data/sources/*/*/source.json"))
    if "data/subsets" in where:
        assert not list(project.glob("data/subsets/**/*.parquet"))
    if "data/scores" in where:
        pattern = {"an edited score of an epoch": EPOCHS, "a missing file of gradients": GRADIENTS}
        assert not list(project.glob(pattern.get(lie, SCORES)))
    if "reports" in where or "data/models" in where:
        assert (
            not list(project.glob(f"{where.rstrip('/')}/*.json"))
            and not (project / where).is_file()
        )
