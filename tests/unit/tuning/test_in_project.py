"""What a study that `tune` writes into a project may not meet there."""

from dataclasses import replace

import numpy as np
import pytest
from support import sandbox, small_study

from beft.errors import UserError
from beft.study.project import load
from beft.tuning import in_project
from beft.tuning.base_model import NamedModel
from beft.tuning.candidates import Candidate
from beft.tuning.examples import Cut, Examples, Meaning
from beft.tuning.place import Place
from beft.tuning.project import recipe_of, write_rows

MEANING = Meaning(("review",), "liked", ("no", "yes"))


@pytest.fixture
def place(tmp_path) -> Place:
    """A project without models, and the study `own` in it."""
    sandbox.write(tmp_path / "params.yaml", small_study.PARAMS)
    return in_project.study_place(tmp_path / "params.yaml", "own")


def written(place, monkeypatch, **params):
    """The subject of six rows in two folds, with changed params.yaml."""
    sandbox.write(place.params, small_study.PARAMS | params)
    monkeypatch.setattr(in_project, "keep_model", lambda *given: None)
    model = NamedModel(place.root, "owner/model", "r1")
    subject = in_project.define(place, model, MEANING, "accuracy", 32, 2)
    rows = np.arange(8)
    texts = tuple((f"text {i}",) for i in rows)
    examples = Examples(texts, rows % 2, MEANING.classes, rows, rows)
    write_rows(subject, examples, Cut(rows[:2], rows[2:], rows[2:] // 2 % 2))
    return subject


def stage(subject, **changes):
    found = subject.fold(
        1, 3, [Candidate("b_v", "first", rate=0.5), Candidate("b_q", "mean", rate=0.5)]
    )
    return replace(found, **changes)


def raised(call, *given) -> str:
    with pytest.raises(UserError) as error:
        call(*given)
    return str(error.value)


def test_outside_a_project_one_line_says_what_a_project_is(tmp_path):
    said = raised(in_project.study_place, tmp_path / "params.yaml", "own")
    assert "a project is a folder with params.yaml" in said and "--study own" in said


@pytest.mark.parametrize("name", ["", "a/b", "../own", "own.yaml", "x" * 61, "-x"])
def test_a_study_has_a_name_and_no_path(place, name):
    assert "not a name for a study" in raised(in_project.study_place, place.params, name)


@pytest.mark.parametrize(
    ("section", "name"), [("models", "own-base"), ("tasks", "own-fold-2"), ("tasks", "own-final")]
)
def test_names_of_params_yaml_are_not_defined_again(place, monkeypatch, section, name):
    taken = {section: small_study.PARAMS[section] | {name: {"nonsense": 1}}}
    assert f"{section}.{name}" in raised(lambda: written(place, monkeypatch, **taken))
    assert not place.folder.exists()


@pytest.mark.parametrize("file", ["own.yaml", "own-final.yaml"])
def test_a_study_of_somebody_else_stays(place, monkeypatch, file):
    sandbox.write(place.root / "studies" / file, {"mine": 1})
    assert file in raised(written, place, monkeypatch)
    assert not place.folder.exists()


def test_an_edited_study_stays(place, monkeypatch):
    subject = written(place, monkeypatch)
    path = in_project.publish(subject, place.race, [stage(subject)])
    in_project.publish(subject, place.race, [stage(subject)])
    edited = path.read_bytes() + b"# a note\n"
    path.write_bytes(edited)
    assert "own.yaml" in raised(in_project.publish, subject, place.race, [stage(subject)])
    assert path.read_bytes() == edited


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"techniques": {"b_v": {"learning_rate": 0.1}}}, "learning_rate 0.1 for b_v"),
        ({"techniques": {"b_q": {"pooling": "first"}}}, "pooling None for b_q"),
        ({"training": small_study.PARAMS["training"] | {"dropout": 0.3}}, "dropout 0.3 for b_v"),
    ],
)
def test_settings_of_params_yaml_that_change_the_race_are_named(place, monkeypatch, params, key):
    subject = written(place, monkeypatch, **params)
    assert key in raised(in_project.publish, subject, place.race, [stage(subject)])
    assert not place.race.exists()


def test_all_other_settings_are_those_of_the_race(place, monkeypatch):
    """Whatever params.yaml says, the recipes are the same."""
    elsewhere = {
        "training": small_study.PARAMS["training"] | {"batch_size": 3, "held_out": 0.5},
        "techniques": {"b_v": {"precision": "bfloat16", "max_length": 7}, "full": {"epochs": 9}},
    }
    found = []
    for params in ({}, elsewhere):
        subject = written(place, monkeypatch, **params)
        path = in_project.publish(subject, place.race, [stage(subject)])
        project = load(place.params, str(path))
        assert project.name == "own"
        found.append([recipe.digest for recipe in project.recipes])
        path.unlink()
    assert found[0] == found[1]


def test_candidates_that_differ_in_one_setting_are_different_runs(place, monkeypatch):
    subject = written(place, monkeypatch)
    every = [
        Candidate("b_v", pooling, objective, rate)
        for pooling, objective in (("mean", ""), ("first", ""), ("mean", "contrastive_pairs"))
        for rate in (1e-3, 2e-3)
    ]
    every += [Candidate("linear_probe", "mean"), Candidate("head_only", "mean", rate=1e-3)]
    every += [replace(c, weighted=True) for c in every if not c.objective]
    own = subject.fold(0, 2, every)
    project = load(place.params, str(in_project.publish(subject, place.race, [own])))
    assert len({recipe_of(project, own, c).digest for c in every}) == len(every)
