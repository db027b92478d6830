"""`beft verify` of many runs: one lie among them is found, and no file is read again and again."""

from collections import Counter
from pathlib import Path

import pytest
from support import sandbox

from beft import code_identity
from beft.operations.verify import problems
from beft.store import accepted_code, files, inputs
from beft.store.files import read_json
from beft.study.project import Project, load
from benchmarks import made_up


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A made-up project of 100 finished runs, without reports."""
    grid = made_up.Grid(2, 1, 5, {100: made_up.ALL[:1]})
    return made_up.project(tmp_path_factory.mktemp("many") / "project", grid)


@pytest.fixture
def project(whole, monkeypatch) -> Project:
    code = code_identity.code_digest(whole / "beft")
    monkeypatch.setattr(accepted_code, "accepted", lambda: [code, code_identity.code_digest()])
    monkeypatch.delenv("BEFT_MIRROR", raising=False)
    return load(whole / "params.yaml")


def told(project: Project) -> list[str]:
    return [p.line for p in problems(project) if "/data/" in p.line]


def test_one_forged_metric_among_many_runs_is_found(project):
    assert told(project) == []
    ends = [r for r in project.recipes if r.technique == "b_k" and r.seed == 3]
    folder = project.layout.run(ends[-1])
    kept = read_json(folder / "metrics.json")
    assert kept["status"] == "ok"
    wrong = {"validation": {**kept["splits"]["validation"], "last": 0.123}}
    try:
        sandbox.reseal(folder, {"metrics.json": kept | {"splits": wrong}})
        (line,) = told(project)
    finally:
        sandbox.reseal(folder, {"metrics.json": kept})
    assert line.startswith(f"{folder}: metrics.json: accuracy of validation (last) is 0.123, but")
    assert told(project) == []


def test_each_file_is_hashed_once_and_each_input_is_read_once(project, monkeypatch):
    seen: Counter[str] = Counter()
    hashed, dataset, weights = files.hashed, inputs._dataset, inputs._weights

    def counted(name, function):
        def call(place, *rest):
            seen[f"{name} {place}"] += 1
            return function(place, *rest)

        return call

    monkeypatch.setattr(files, "hashed", counted("file", hashed))
    monkeypatch.setattr(inputs, "_dataset", counted("dataset", dataset))
    monkeypatch.setattr(inputs, "_weights", counted("weights", weights))
    assert told(project) == []
    runs = {name: times for name, times in seen.items() if "/data/runs/" in name}
    assert len(runs) >= 7 * len(project.recipes)
    assert set(runs.values()) == {1}
    assert sum(name.startswith("dataset") for name in seen) == 1
    assert sum(name.startswith("weights") for name in seen) == 2
