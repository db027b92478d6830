"""What is wrong with a file of seconds."""

import json

import pytest

from beft.store.measurement_files import timing_flaw
from beft.study.measurements import TIMING_VERSION, Timed
from beft.study.recipe import Recipe


@pytest.fixture
def timed() -> Timed:
    place = ({"alias": "m"}, {"name": "t"}, "0" * 16, {"regime": "low"})
    return Timed(tuple(Recipe(*place, name, 1, {}) for name in ("b_v", "full")), repeats=2)


def written(timed) -> dict:
    """A sound file of seconds."""
    runs = [
        {"digest": r.digest, "repeat": repeat, "seconds": 2.0, "train_seconds": 1.0, "status": "ok",
         "device": "cpu", "hardware": "a machine", "threads": 1}
        for repeat in range(1, timed.repeats + 1)
        for r in timed.recipes
    ]  # fmt: skip
    return {"version": TIMING_VERSION, "runs": runs}


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (lambda d: None, None),
        (lambda d: d["runs"].pop(), "not of the runs"),
        (lambda d: d["runs"].reverse(), "not of the runs"),
        (lambda d: d.update(version=TIMING_VERSION + 1), "not of the runs"),
        (lambda d: d["runs"][0].update(digest="0" * 16), "not of the runs"),
        (lambda d: d["runs"][0].update(seconds=0.5), "0.5 s for a run cannot be"),
        (lambda d: d["runs"][0].update(seconds=-1, train_seconds=-2), "cannot be"),
        (lambda d: d["runs"][0].update(seconds="2"), "damaged"),
        (lambda d: d["runs"][0].update(hardware=None), "damaged"),
        (lambda d: d.pop("runs"), "damaged"),
    ],
)
def test_a_file_of_seconds_is_whole_and_of_its_runs_or_not(timed, tmp_path, change, flaw):
    data, path = written(timed), tmp_path / "t.json"
    change(data)
    path.write_text(json.dumps(data))
    found = timing_flaw(path, timed)
    assert found is None if flaw is None else flaw in found


def test_a_file_of_seconds_that_is_none(timed, tmp_path):
    assert timing_flaw(tmp_path / "t.json", timed) == "missing"
    for text in ("", "[]", "{"):
        (tmp_path / "t.json").write_text(text)
        assert timing_flaw(tmp_path / "t.json", timed).startswith("damaged")
