"""Files of a cell: scores per epoch and gradients, from snapshots whose scores are worked out."""

import csv
import io
import json
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.recipes import recipe

from beft.selectors import score_files
from beft.store.run_folder import Run, open_run
from beft.study.cell import Cell
from beft.study.layout import Layout

PRE = {"q": [1.0, 0.0], "k": [0.0, 2.0], "v": [2.0, 0.0]}
# after each epoch: unchanged, halved, turned by 90 degrees
EPOCHS = [
    PRE,
    {t: [x / 2 for x in b] for t, b in PRE.items()},
    {t: b[::-1] for t, b in PRE.items()},
]


def one_layer(biases: dict) -> dict[str, np.ndarray]:
    return {term: np.array([values]) for term, values in biases.items()}


@pytest.fixture
def layout(tmp_path, monkeypatch) -> Layout:
    monkeypatch.setattr(Run, "is_sound", True)
    return Layout(tmp_path)


def plant(layout: Layout, made, name: str, groups: dict, status: str = "ok"):
    """A run with a file of arrays, group -> term -> values of its only layer."""
    folder = layout.run(made)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"status": status, "reason": ""}))
    arrays = {f"{g}/{t}": x for g, terms in groups.items() for t, x in one_layer(terms).items()}
    save_file(arrays, folder / f"{name}.safetensors")
    return made


def tuned(layout: Layout, status: str = "ok", epochs=EPOCHS, **training):
    groups = {f"epoch-{i}": biases for i, biases in enumerate(epochs, 1)}
    made = recipe("all_biases", **training)
    return plant(layout, made, "biases", {"pre": PRE, "post": epochs[-1], **groups}, status)


def rows(content: bytes) -> list[dict]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def rendered(layout: Layout, cell: Cell) -> list[list[dict]]:
    files = score_files.render_cell(partial(open_run, layout), cell)
    return [rows(content) for content in files.values()]


SELECTORS = ("projection", "magnitude", "fisher")


def test_scores_after_each_epoch(layout) -> None:
    made = tuned(layout)
    cell = Cell((made,), SELECTORS)
    found = {(r["selector"], r["epoch"]): r for r in scores_of(layout, cell)}
    assert list(found) == [(s, e) for s in SELECTORS[:2] for e in "123"]
    assert {r["digest"] for r in found.values()} == {made.digest}
    # projection: the same vector 0, half of it 1 - 1/2, at a right angle 1; magnitude: |change|
    values = [[float(found["projection", e][t]) for t in "qkv"] for e in "123"]
    assert values == [[0, 0, 0], [0.5] * 3, [1, 1, 1]]
    values = [[float(found["magnitude", e][t]) for t in "qkv"] for e in "123"]
    assert values == [[0, 0, 0], [0.5, 1, 1], [2, 4, 4]]


def scores_of(layout: Layout, cell: Cell) -> list[dict]:
    return rendered(layout, cell)[1]


def test_the_last_epoch_is_the_scores_file(layout) -> None:
    cell = Cell((tuned(layout),), SELECTORS)
    final, after, _ = rendered(layout, cell)
    last = {r["selector"]: r for r in after if r["epoch"] == "3"}
    for row in final:
        if row["layer"] == "mean":
            assert row["score"] == last[row["selector"]][row["term"]]


def test_epochs_are_in_the_order_of_numbers(layout) -> None:
    cell = Cell((tuned(layout, epochs=[PRE] * 12),), ("magnitude",))
    assert [int(r["epoch"]) for r in scores_of(layout, cell)] == list(range(1, 13))


def test_runs_of_further_settings_have_trajectories_and_no_scores(layout) -> None:
    first, other = tuned(layout), tuned(layout, learning_rate=0.5, epochs=EPOCHS[:2])
    cell = Cell((first,), SELECTORS, (other,))
    final, after, _ = rendered(layout, cell)
    assert [r["digest"] for r in after].count(other.digest) == 2 * 2
    # two selectors of snapshots, three terms, the only layer and the mean
    assert len(final) == 2 * 3 * 2


def test_runs_that_diverged_have_no_trajectory(layout) -> None:
    cell = Cell((tuned(layout, "diverged"),), SELECTORS)
    assert scores_of(layout, cell) == []


def test_an_undefined_score_is_empty(layout) -> None:
    nothing = {t: [0.0, 0.0] for t in PRE}
    made = recipe("all_biases")
    plant(layout, made, "biases", {"pre": nothing, "post": nothing, "epoch-1": nothing})
    (row,) = scores_of(layout, Cell((made,), ("projection",)))
    assert (row["q"], row["k"], row["v"]) == ("", "", "")


def test_gradients_and_what_is_inert(layout) -> None:
    sizes = {"q": [0.5, -0.5], "k": [1e-7, 1e-7], "v": [1.0, 3.0], "output": [1e-9, 1e-9]}
    made = plant(layout, recipe("untuned"), "gradients", {"mean_abs": sizes})
    *_, found = rendered(layout, Cell((made,), ()))
    assert {r["term"]: float(r["relative"]) for r in found} == pytest.approx(
        {"q": 0.25, "k": 5e-8, "v": 1.0, "output": 5e-10}
    )
    assert [r["term"] for r in found if r["inert"] == "true"] == ["k"]  # only q, k, v can be


def test_gradients_that_are_all_zero_have_no_relative_size(layout) -> None:
    made = plant(layout, recipe("untuned"), "gradients", {"mean_abs": {"q": [0.0], "v": [0.0]}})
    found = rendered(layout, Cell((made,), ()))[2]
    assert [(r["mean_abs"], r["relative"]) for r in found] == [("0.0", ""), ("0.0", "")]


def test_files_are_named_by_the_runs_they_cover() -> None:
    first, other = recipe("all_biases"), recipe("all_biases", learning_rate=0.5)
    alone, both = Cell((first,), SELECTORS), Cell((first,), SELECTORS, (other,))
    assert set(alone.files()).isdisjoint(both.files())
    stem = alone.scores().removesuffix(".csv")
    assert alone.files() == (f"{stem}.csv", f"{stem}.epochs.csv", f"{stem}.gradients.csv")
