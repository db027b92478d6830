"""Pack jobs: what is stopped goes on where it was, and only on what it was begun with."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from support import sandbox, tiny
from transformers import AutoModelForSequenceClassification

from beft.cli.data import fetch, subsample
from beft.errors import UserError
from beft.models.encoder import load_encoder
from beft.report.frames.collect import collect
from beft.store.files import read_json, to_json
from beft.study.identity import sha256
from beft.study.project import Project, load
from beft.training import pack as runner
from beft.training import shared
from beft.training.state import Interrupted

RESULTS = (
    *("metrics.json", "history.csv", "biases.safetensors", "head.safetensors"),
    "examples.safetensors",
)


def prepared(folder: Path, **model: object) -> Path:
    """A project with sources, model and the subsets of two seeds, nothing trained."""
    sandbox.make(folder, study=sandbox.STUDY | {"seeds": [0, 1], "selectors": []})
    if model:
        tiny.checkpoint("bert", folder / "models" / "tiny", **model)
    fetch(params=folder / "params.yaml")
    for subset in load(folder / "params.yaml").subsets:
        subsample(folder / "data" / "subsets" / subset, params=folder / "params.yaml")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A project whose pack of two seeds ran undisturbed."""
    folder = prepared(tmp_path_factory.mktemp("whole"))
    run(folder, [0, 1])
    return folder


def project(folder: Path, seeds: list[int]) -> Project:
    sandbox.change(folder / "studies" / "mini.yaml", "seeds", to=seeds)
    return load(folder / "params.yaml")


def run(folder: Path, seeds: list[int], stop_at: int | None = None) -> None:
    """Runs the pack; after `stop_at` steps the process gets SIGTERM."""
    seen = []

    def progress(done: int, total: int, text: str) -> None:
        seen.append(done)
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    (key, pack), *others = project(folder, seeds).packs.items()
    assert not others
    manifest = folder / "data" / "packs" / key
    runner.run_pack(load(folder / "params.yaml").layout, pack, manifest, progress=progress)


def results(folder: Path, seed: int) -> dict[str, bytes]:
    found = sorted((folder / "data" / "runs").glob(f"*/*/*/*/seed-{seed}/*"))
    return {f"{r.parent.parent.name}/{n}": (r / n).read_bytes() for r in found for n in RESULTS}


def test_a_stopped_pack_that_has_grown_meanwhile_goes_on(whole, tmp_path, caplog):
    """Seeds 0 and 1 are stopped; with seed 2 added, they end with the bytes of undisturbed runs."""
    caplog.set_level("INFO")
    folder = prepared(tmp_path)
    with pytest.raises(Interrupted):
        run(folder, [0, 1], stop_at=3)
    assert not results(folder, 0)
    problems = collect(load(folder / "params.yaml")).problems
    assert set(problems.status) == {"missing"}
    assert problems.reason.str.startswith(f"stopped while process {os.getpid()} on ").all()
    project(folder, [0, 1, 2])
    for subset in load(folder / "params.yaml").subsets:
        subsample(folder / "data" / "subsets" / subset, params=folder / "params.yaml")
    run(folder, [0, 1, 2])
    assert caplog.text.count("resumed after") == 1
    for seed in (0, 1):
        assert results(folder, seed) == results(whole, seed) != {}
    assert len(results(folder, 2)) == len(results(folder, 0))
    assert not list((folder / "data" / "work").glob("group-*"))


def test_other_code_does_not_go_on_with_a_checkpoint(whole, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    folder = prepared(tmp_path)
    with pytest.raises(Interrupted):
        run(folder, [0, 1], stop_at=3)
    monkeypatch.setattr(runner, "code_digest", lambda: "edited")
    run(folder, [0, 1])
    assert "resumed" not in caplog.text
    assert results(folder, 0) == results(whole, 0)


def test_data_that_change_while_a_job_runs_leave_no_run(tmp_path):
    folder = prepared(tmp_path)
    (key, pack), *_ = project(folder, [0]).packs.items()
    layout = load(folder / "params.yaml").layout
    file = layout.source(pack.recipes[0]) / "validation.parquet"

    def progress(done: int, total: int, text: str) -> None:
        file.write_bytes(b"others")

    with pytest.raises(UserError, match=r"validation\.parquet is damaged"):
        runner.run_pack(layout, pack, layout.pack(key), progress=progress)
    assert not layout.folder("runs").exists()


def test_weights_that_change_while_they_are_loaded_leave_no_run(tmp_path, monkeypatch):
    folder = prepared(tmp_path)
    (key, pack), *_ = project(folder, [0]).packs.items()
    layout = load(folder / "params.yaml").layout
    file = folder / "models" / "tiny" / "tokenizer.json"

    def load_meanwhile(path, *given, **settings):
        file.write_bytes(file.read_bytes() + b" ")
        return load_encoder(path, *given, **settings)

    monkeypatch.setattr(shared, "load_encoder", load_meanwhile)
    with pytest.raises(UserError, match=r"tokenizer\.json: missing, or not what was fetched"):
        runner.run_pack(layout, pack, layout.pack(key))
    assert not layout.folder("runs").exists()


def test_another_run_than_the_manifest_was_written_for_is_not_taken_over(whole, tmp_path):
    """As `beft train` by hand might: its new manifest would fit whatever run lies there."""
    folder = Path(shutil.copytree(whole, tmp_path / "project"))
    (key, pack), *_ = project(folder, [0, 1]).packs.items()
    layout = load(folder / "params.yaml").layout
    runner.run_pack(layout, pack, layout.pack(key))  # nothing to do
    there = layout.run(pack.recipes[0])
    facts = read_json(there / "metrics.json")
    facts["splits"]["validation"]["best"] = 0.99
    (there / "metrics.json").write_bytes(to_json(facts))
    sums = {name: sha256(there / name) for name in read_json(there / "checksums.json")}
    (there / "checksums.json").write_bytes(to_json(sums))
    before = layout.pack(key).read_bytes()
    with pytest.raises(UserError, match=r"not the run that .* was written for; run 'beft verify"):
        runner.run_pack(layout, pack, layout.pack(key))
    assert layout.pack(key).read_bytes() == before
    layout.pack(key).unlink()  # as snakemake does before it starts a job
    runner.run_pack(layout, pack, layout.pack(key))


@pytest.mark.parametrize(
    ("names", "fate"),
    [
        (["negative", "positive"], "kept"),
        (["positive", "negative"], "reordered"),
        (["LABEL_0", "LABEL_1"], "kept"),
        (["a", "b", "c"], "dropped"),
        (None, None),
    ],
)
def test_provenance_says_what_became_of_the_checkpoints_head(tmp_path, caplog, names, fate):
    tuned = {"auto": AutoModelForSequenceClassification, "id2label": dict(enumerate(names or []))}
    folder = prepared(tmp_path, **(tuned if names else {}))
    with caplog.at_level("INFO", logger="beft"):
        run(folder, [0])
    assert caplog.text.count("own classification layer") == (1 if names else 0)
    found = [read_json(p) for p in (folder / "data" / "runs").rglob("provenance.json")]
    assert len(found) == 2
    for facts in found:
        if names is None:
            assert "checkpoint_head" not in facts
            continue
        head = facts["checkpoint_head"]
        assert (head["layer"], head["outputs"], head["fate"]) == ("classifier", len(names), fate)
        assert head["classes"] == ([] if names[0] == "LABEL_0" else names)
