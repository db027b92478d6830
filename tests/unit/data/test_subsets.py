"""Subsets nest, and depend on task, regime and seed alone."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.local_files import ASKED, ROWS, local_task, write_local
from support.orders import independent_order

from beft.data import sources
from beft.data.subsets import draw, read_subset, subset_rows, write_subset
from beft.errors import UserError
from beft.study import params as P
from beft.study import studies
from beft.study.grid import grid
from beft.study.recipe import Recipe
from beft.tasks import TABLE


def test_a_source_without_labels_comes_from_json_lines_and_has_subsets(tmp_path):
    for split in ("train", "validation"):
        lines = pa.table(ASKED).to_pylist() * 4
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    task = P.Task(path=".", regimes={"low": 3}, learning_rate=0.1, epochs=1)
    folder = sources.fetch_task(tmp_path, "squad", task)
    assert pq.read_table(folder / "train.parquet").num_rows == 8
    told = {"name": "squad", **TABLE["squad"].prompt_dict()}
    subset = {"regime": "low", "size": 3, "stratify": False}
    recipe = Recipe({}, told, "", subset, "b_v", 4, {})
    expected = independent_order(8, repr(("subset", "squad", 4)))[:3]
    assert subset_rows(folder, recipe).tolist() == expected
    with pytest.raises(UserError, match=r"tasks\.squad\.stratify: .*no classes"):
        subset_rows(folder, replace(recipe, subset={**subset, "stratify": True}))


QUICK = settings(max_examples=30, derandomize=True, deadline=None)
LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=150).map(np.array)
SEEDS = st.integers(0, 2**32 - 1)


@QUICK
@given(LABELS, st.booleans(), st.text(), SEEDS, st.data())
def test_the_subsets_of_the_regimes_nest(labels, stratify, task, seed, data):
    """Low is a part of medium, medium of high, high of all; no row is drawn twice."""
    whole = draw(labels, "all", stratify, task, seed).tolist()
    assert sorted(whole) == list(range(len(labels)))
    three = st.lists(st.integers(1, len(labels)), min_size=3, max_size=3).map(sorted)
    low, medium, high = (draw(labels, n, stratify, task, seed).tolist() for n in data.draw(three))
    for smaller, larger in ((low, medium), (medium, high), (high, whole)):
        assert set(smaller) <= set(larger) and larger[: len(smaller)] == smaller


@QUICK
@given(st.integers(30, 150), st.tuples(st.text(), SEEDS), st.tuples(st.text(), SEEDS), st.data())
def test_a_subset_depends_on_task_and_seed_and_not_on_labels(rows, one, other, data):
    first, second = (
        np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
        for _ in range(2)
    )
    drawn = draw(first, 20, False, *one).tolist()
    assert draw(second, 20, False, *one).tolist() == drawn
    assert (draw(first, 20, False, *other).tolist() == drawn) == (one == other)


@QUICK
@given(LABELS, st.text(), SEEDS)
def test_every_stratified_prefix_has_the_shares_of_the_whole(labels, task, seed):
    """Of n rows, a class with share p gets p n, give or take one row for each class."""
    rows = draw(labels, "all", True, task, seed)
    counts = np.array([np.cumsum(labels[rows] == label) for label in range(4)])
    shares = counts[:, -1:] / len(labels)
    sizes = np.arange(1, len(labels) + 1)
    classes = np.count_nonzero(shares)
    assert np.all(np.abs(counts - shares * sizes) <= max(1, classes / 2))
    # within a class, the order is that of the plain subset
    plain = draw(labels, "all", False, task, seed)
    for label in range(4):
        assert rows[labels[rows] == label].tolist() == plain[labels[plain] == label].tolist()


def test_every_prefix_of_three_uneven_classes_is_within_a_row():
    labels = np.array([0] * 70 + [1] * 25 + [2] * 5)
    rows = draw(labels, "all", True, "t", 0)
    for size in range(1, 101):
        counts = np.bincount(labels[rows[:size]], minlength=3)
        assert np.all(np.abs(counts - size * np.array([0.70, 0.25, 0.05])) <= 1)


def test_a_subset_larger_than_the_data_names_both_numbers():
    with pytest.raises(UserError, match=r"tasks\.t\.regimes: 101 .* has 100"):
        draw(np.zeros(100), 101, False, "t", 0)


@pytest.fixture
def drawn(tmp_path):
    """A project's root, its recipe, source folder and index file."""
    write_local(tmp_path / "mine", "csv")
    task = local_task("mine", regimes={"low": 3}, learning_rate=0.1, epochs=1)
    fixed = {"batch_size": 1, "max_length": 8, "weight_decay": 0, "max_grad_norm": 1}
    params = P.Params(
        study="s",
        training={**fixed, "precision": "float32"},
        models={"m": {"hub": "own/m", "revision": "r"}},
        tasks={"mine": task},
        techniques={},
    )
    study = {"models": ["m"], "tasks": ["mine"], "regimes": ["low"], "techniques": ["b_v"]}
    (recipe,) = grid(params, studies.Study(**study, seeds=[4], selectors=[]), tmp_path)
    source = sources.fetch_task(tmp_path, "mine", task)
    assert source == tmp_path / "data" / "sources" / recipe.source_path()
    target = tmp_path / "data" / "subsets" / recipe.subset_path()
    write_subset(source, recipe, target)
    return recipe, source, target


def test_an_index_file_holds_the_rows_in_order(drawn):
    recipe, source, target = drawn
    expected = independent_order(len(ROWS), repr(("subset", "mine", 4)))[:3]
    assert pq.read_table(target).to_pydict() == {"row": expected}
    assert read_subset(source, recipe, target).tolist() == expected


@pytest.mark.parametrize(
    "rows",
    [[0, 1, 2], [4], [], [99, 98, 97], None],
)
def test_other_rows_than_the_name_says_are_refused(drawn, rows):
    recipe, source, target = drawn
    if rows is None:
        target.write_bytes(target.read_bytes()[:-20])
    else:
        pq.write_table(pa.table({"row": pa.array(rows, pa.int64())}), target)
    with pytest.raises(UserError, match=target.name):
        read_subset(source, recipe, target)
