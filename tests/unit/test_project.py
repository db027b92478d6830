"""A project: which files its study makes, and what may be chosen on the command line."""

from pathlib import Path

import pytest
import sandbox

from beft.errors import UserError
from beft.project import load, load_for_workflow

PARAMS = {
    **sandbox.PARAMS,
    "models": {name: {"hub": f"own/{name}", "revision": "r"} for name in ("m", "n")},
}
STUDY = {
    "models": ["m", "n"],
    "tasks": ["demo_sentiment", "demo_similarity"],
    "regimes": ["low", "medium"],
    "techniques": ["b_v", "full"],
    "seeds": [0, 1],
    "selectors": ["projection", "fisher"],
}


@pytest.fixture
def root(tmp_path) -> Path:
    sandbox.write(tmp_path / "params.yaml", PARAMS)
    sandbox.write(tmp_path / "studies" / "mini.yaml", STUDY)
    return tmp_path


def project(root, **changes):
    for key, value in changes.items():
        sandbox.change(root / "studies" / "mini.yaml", key, to=value)
    return load(root / "params.yaml")


def test_counts_follow_from_the_study(root):
    made = project(root)
    assert len(made.recipes) == 2 * 2 * 2 * 4 * 2  # and all_biases and untuned, for the selectors
    assert len(made.packs) == 2 * 2 * 2 * 4
    assert len(made.cells) == 2 * 2 * 2
    assert len(made.subsets) == 2 * 2 * 2  # task, regime, seed
    assert set(made.sources().values()) == {"demo_sentiment", "demo_similarity"}
    assert set(made.models().values()) == {"m", "n"}
    assert all(key.endswith(".json") for key in made.packs)
    assert all(len(cell.recipes) == 4 for cell in made.cells.values())


def test_every_run_belongs_to_the_pack_that_lists_it(root):
    made = project(root)
    for recipe in made.recipes:
        assert recipe in made.packs[made.pack_of(recipe)].recipes


def test_a_cell_without_selectors_is_not_scored(root):
    assert project(root, selectors=[]).cells == {}


# What changes in the study -> whether packs, scores and subsets that were there stay valid.
@pytest.mark.parametrize(
    ("changes", "packs", "cells", "subsets"),
    [
        ({"description": "x"}, True, True, True),
        ({"tables": ["table1"]}, True, True, True),
        ({"techniques": ["b_v", "full", "b_q"]}, True, True, True),
        ({"regimes": ["low", "medium", "all"]}, True, True, True),
        ({"seeds": [0, 1, 2]}, False, False, True),
        ({"selectors": ["projection"]}, True, False, True),
        ({"skip_inert": True}, False, True, True),
        ({"fuse_techniques": True}, False, True, True),
        ({"training": {"epochs": 9}}, False, False, True),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_a_change_leaves_valid(root, changes, packs, cells, subsets):
    before, after = project(root), project(root, **changes)
    assert (set(before.packs) <= set(after.packs)) is packs
    assert (set(before.cells) <= set(after.cells)) is cells
    assert (set(before.subsets) <= set(after.subsets)) is subsets


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"tables": ["table1"]}, False),
        ({"figures": []}, False),
        ({"techniques": ["full", "b_v"]}, False),
        ({"training": {"dropout": 0.1}}, False),
        ({"description": "x"}, False),
    ],
    ids=str,
)
def test_the_fingerprint_is_that_of_what_reports_show(root, changes, same):
    before = project(root).fingerprint
    assert (project(root, **changes).fingerprint == before) is same


def test_execution_is_not_in_the_fingerprint(root):
    before = project(root).fingerprint
    sandbox.change(root / "params.yaml", "execution", "threads", to=4)
    assert project(root).fingerprint == before


@pytest.mark.parametrize(("kind", "folder"), [("packs", "packs"), ("cells", "scores"),
                                              ("subsets", "subsets")])  # fmt: skip
def test_files_are_found_by_any_way_of_writing_their_path(root, monkeypatch, kind, folder):
    made = project(root)
    key = next(iter(getattr(made, kind)))
    monkeypatch.chdir(root)
    place = f"data/{folder}/{key}"
    for path in (place, root / place, f"./data/x/../{folder}/{key}"):
        assert made.find(kind, Path(path)) == key
    for path in (f"{place}x", f"elsewhere/{key}", "/", f"../{place}"):
        with pytest.raises(UserError, match="study 'mini' does not make this file"):
            made.find(kind, Path(path))


def test_a_study_may_be_a_path_and_its_name_is_the_files(root, tmp_path):
    sandbox.write(root / "own" / "narrow.yaml", {**STUDY, "seeds": [5]})
    for study in ("own/narrow.yaml", str(root / "own" / "narrow.yaml")):
        made = load(root / "params.yaml", study)
        assert made.name == "narrow" and {r.seed for r in made.recipes} == {5}


def test_the_papers_study_is_its_encoders_and_techniques_on_glue():
    """2 models, 8 tasks of GLUE, 3 regimes, 6 techniques and, for Fisher, `untuned`, 5 seeds."""
    made = load(sandbox.ROOT / "params.yaml", "paper")
    assert len({r.digest for r in made.recipes}) == 2 * 8 * 3 * (6 + 1) * 5
    assert len(made.packs) == 2 * 8 * 3 * (6 + 1)


def config(root, **changes):
    from beft.params import read_yaml

    return {**read_yaml(root / "params.yaml"), **changes}


def test_the_command_line_may_choose_the_study(root):
    sandbox.write(root / "studies" / "other.yaml", {**STUDY, "seeds": [5]})
    assert load_for_workflow(root / "params.yaml", config(root)).name == "mini"
    assert load_for_workflow(root / "params.yaml", config(root, study="other")).name == "other"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", {}),
        ("learning_rate", 0.1),
        ("tasks", {"demo_sentiment": {"demo": True}}),
        ("execution", {"threads": 2}),
    ],
)
def test_the_command_line_may_choose_nothing_else(root, key, value):
    with pytest.raises(UserError, match=f"--config {key}: only 'study'"):
        load_for_workflow(root / "params.yaml", config(root, **{key: value}))
