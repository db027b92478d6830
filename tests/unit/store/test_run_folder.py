"""What a run folder holds, and whether the run counts: read as it was written, decided once."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save
from support.recipes import recipe

from beft.store import run_format as F
from beft.store.failures import forget_failure, note_failure
from beft.store.files import to_json, write_folder
from beft.store.locks import lock
from beft.store.manifest import entry, write_manifest
from beft.store.run_folder import open_run
from beft.study.layout import Layout

RECIPE = recipe("b_v")
METRICS = {
    **{"status": "ok", "reason": "", "metric": "accuracy", "best_epoch": 1},
    "splits": {"validation": {"best": 0.75, "last": None}},
    **{"epochs": 2, "train_examples": 4, "trainable_params": 5, "trainable_percent": 0.5},
}
BIASES = {name: {"q": np.full((2, 3), value)} for name, value in (("pre", 0.0), ("post", 2.0))}
AFTER = {1: {"q": np.full((2, 3), 1.0)}, 10: {"q": np.full((2, 3), 2.0)}}
HEAD = {"classifier.bias": np.ones(2)}
ANSWERS = {"validation": np.array([0, 1])}
SUMS = {"validation": np.array([[1], [0]], np.uint8)}
ORIGIN = {
    **{"code": "c0de", "seconds": 1.0, "peak_memory_mb": 2.0, "versions": {}},
    "inputs": {"source": {"train.parquet": "1"}, "model": {"w": "2"}},
}
ROWS = [
    {"epoch": 1, "train_loss": 0.5, "validation/accuracy": 0.75, "validation/f1": 0.5},
    {"epoch": 2, "train_loss": None, "validation/accuracy": None, "validation/f1": 0.5},
]


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path)


def files(metrics: dict = METRICS) -> dict[str, bytes]:
    """The files of a run, by the functions that training uses."""
    arrays = {}
    for name, biases in (*BIASES.items(), *AFTER.items()):
        arrays |= F.kept("biases", name, biases)
    arrays |= F.kept("head", "best", HEAD) | F.kept("predictions", "last", ANSWERS)
    arrays |= F.kept("examples", "best", SUMS)
    history = F.history_csv(["validation"], ["accuracy", "f1"], ROWS)
    return {
        F.RECIPE: to_json(RECIPE.to_dict()),
        F.METRICS: to_json(metrics),
        F.HISTORY: history,
        F.PROVENANCE: to_json(ORIGIN),
        F.GRADIENTS: save(F.grouped("mean_abs", BIASES["post"])),
        **{name: save(each) for name, each in F.array_files(arrays).items()},
    }


def write(layout: Layout, **changes) -> None:
    write_folder(layout.run(RECIPE), files(METRICS | changes))


def test_what_was_written_is_read(layout):
    write(layout)
    run = open_run(layout, RECIPE)
    assert (run.flaw, run.flaws(), run.status, run.reason) == (None, [], "ok", "")
    for name, biases in (*BIASES.items(), *AFTER.items()):
        np.testing.assert_equal(run.biases(name), biases)
    assert run.snapshots() == [1, 10]  # numbers, not text: 10 comes after 2
    np.testing.assert_equal(run.tuned("best"), AFTER[1])
    np.testing.assert_equal(run.tuned("last"), BIASES["post"])
    np.testing.assert_equal(run.head("best"), HEAD)
    assert run.head("last") == {} == run.gradients("mean_square")
    np.testing.assert_equal(run.predictions("last"), ANSWERS)
    np.testing.assert_equal(run.example_sums("best"), SUMS)
    np.testing.assert_equal(run.gradients("mean_abs"), BIASES["post"])
    assert run.metrics == METRICS and run.provenance == ORIGIN
    assert [(e, v["validation"]) for e, _, v in run.history()][0] == (1, 0.75)
    epoch, loss, values = list(run.history())[1]
    assert epoch == 2 and math.isnan(loss) and math.isnan(values["validation"])


def test_the_names_of_files_and_keys_are_those_that_were_promised():
    arrays = F.kept("biases", "pre", {"q": 1}) | F.kept("biases", 3, {"q": 2})
    assert F.array_files(arrays) == {
        "biases.safetensors": {"pre/q": 1, "epoch-3/q": 2},
        **{f"{name}.safetensors": {} for name in ("head", "predictions", "examples")},
    }
    promised = {"recipe.json", "metrics.json", "history.csv", "provenance.json"}
    assert promised < set(files())
    assert F.history_csv(["a"], ["m"], [{"epoch": 1, "train_loss": None, "a/m": 0.5}]) == (
        b"epoch,train_loss,a/m\n1,,0.5\n"
    )


def test_a_run_of_earlier_code_has_no_sums_of_examples(layout):
    write(layout)
    (layout.run(RECIPE) / F.EXAMPLES).unlink()
    assert open_run(layout, RECIPE).example_sums("best") == {}


def test_a_run_is_its_recipes_and_no_others(layout):
    write(layout)
    other = replace(RECIPE, seed=1)
    layout.run(other).parent.mkdir(parents=True)
    shutil.copytree(layout.run(RECIPE), layout.run(other))
    run = open_run(layout, other)
    assert run.flaw == "recipe.json is not the recipe of this folder's name"
    assert run.flaws() == [run.flaw] and run.status == "failed"


def test_the_checksum_changes_with_any_file(layout):
    run = open_run(layout, RECIPE)
    assert not run.is_written and run.checksum is None
    write(layout)
    before = run.checksum
    assert run.is_written and before
    shutil.rmtree(run.folder)
    write(layout, best_epoch=2)
    assert run.checksum not in (None, before)


def diverged(layout: Layout) -> None:
    write(layout, status="diverged", reason="loss not finite")


def damaged(layout: Layout) -> None:
    write(layout)
    (layout.run(RECIPE) / F.BIASES).write_bytes(b"")


def edited(name: str, content: object):
    def plant(layout: Layout) -> None:
        write_folder(layout.run(RECIPE), files() | {name: to_json(content)})

    return plant


def without(content: dict, key: str) -> dict:
    return {k: v for k, v in content.items() if k != key}


def no_folder(layout: Layout) -> None:
    layout.run(RECIPE).parent.mkdir(parents=True)
    layout.run(RECIPE).write_text("")


def listed(status: str, reason: str):
    def plant(layout: Layout) -> None:
        write_manifest(layout.pack("p.json"), [entry(RECIPE, status, reason)], skip_inert=True)

    return plant


def noted(layout: Layout) -> None:
    note_failure(layout.work(RECIPE.digest), "failed", "out of memory")


@pytest.mark.parametrize(
    ("plant", "status", "reason"),
    [
        (write, "ok", ""),
        (diverged, "diverged", "loss not finite"),
        (damaged, "failed", "biases.safetensors is damaged"),
        (edited(F.METRICS, []), "failed", "metrics.json is damaged (it is no object)"),
        (
            edited(F.METRICS, METRICS | {"splits": None}),
            "failed",
            "metrics.json is damaged (its 'splits' is missing or wrong)",
        ),
        (
            edited(F.METRICS, METRICS | {"splits": {"validation": {"best": 0.75}}}),
            "failed",
            "metrics.json is damaged (its 'splits.validation' is missing or wrong)",
        ),
        (edited(F.PROVENANCE, []), "failed", "provenance.json is damaged (it is no object)"),
        (
            edited(F.PROVENANCE, without(ORIGIN, "code")),
            "failed",
            "provenance.json is damaged (its 'code' is missing or wrong)",
        ),
        (no_folder, "failed", "a file lies where a folder belongs; remove it"),
        (listed("skipped", "inert"), "skipped", "inert"),
        (listed("ok", ""), "failed", "lost: its manifest is there, its folder is not"),
        (noted, "failed", "out of memory"),
        (lambda layout: None, "missing", "not run yet"),
    ],
)
def test_why_a_run_counts_or_not(layout, plant, status, reason):
    plant(layout)
    run = open_run(layout, RECIPE, layout.pack("p.json"))
    assert (run.status, run.reason) == (status, reason)


def test_a_run_that_is_being_trained_names_its_owner(layout):
    with lock(layout.work(RECIPE.digest)):
        run = open_run(layout, RECIPE)
        assert run.status == "missing" and "begun by process" in run.reason


def test_a_noted_failure_is_forgotten(layout):
    noted(layout)
    forget_failure(layout.work(RECIPE.digest))
    assert open_run(layout, RECIPE).status == "missing"
