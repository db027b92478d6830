"""Definitions in params.yaml and in studies: which of them a study uses, and checks."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from support import sandbox

from beft.errors import UserError
from beft.operations.studies_in_use import studies_in_use
from beft.report.frames.collect import settings
from beft.study.project import load

TASK = {
    "path": "my/reviews",
    "text": ["text"],
    "labels": ["bad", "good"],
    "metric": "accuracy",
    "regimes": {"low": 4},
    "learning_rate": 1e-3,
    "epochs": 1,
}
MODEL = {"hub": "own/m", "revision": "r"}
HALF = {"path": "nowhere", "text": ["a"], "metrik": "f1"}
PARAMS = sandbox.PARAMS | {
    "models": {"m": MODEL},
    "tasks": {"demo_sentiment": sandbox.PARAMS["tasks"]["demo_sentiment"]},
}
STUDY = {
    "models": ["m"],
    "tasks": ["demo_sentiment"],
    "regimes": ["low"],
    "techniques": ["b_v"],
    "seeds": [0],
}
OWN = STUDY | {"models": {"m": None, "n": MODEL}, "tasks": {"reviews": TASK}}


@pytest.fixture
def root(tmp_path) -> Path:
    for split in ("train", "validation"):
        path = tmp_path / "my" / "reviews" / f"{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text,label\nfine,good\ndull,bad\n")
    sandbox.write(tmp_path / "params.yaml", PARAMS)
    return tmp_path


def loaded(root: Path, name: str = "mini", **studies: dict):
    for key, data in studies.items():
        sandbox.write(root / "studies" / f"{key}.yaml", data)
    return load(root / "params.yaml", name)


def defined(root: Path, section: str, name: str, to: object) -> None:
    sandbox.change(root / "params.yaml", section, name, to=to)


def refused(root: Path, name: str = "mini", **studies: dict) -> str:
    with pytest.raises(UserError) as error:
        loaded(root, name, **studies)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_definitions_of_a_study_count_as_those_of_params(root):
    """Same runs, same files of `data/`, same settings and stamp of its reports."""
    own = loaded(root, mini=OWN)
    assert {r.task["name"] for r in own.recipes} == {"reviews"}
    assert {r.model["alias"] for r in own.recipes} == {"m", "n"}
    defined(root, "models", "n", MODEL)
    defined(root, "tasks", "reviews", TASK)
    plain = loaded(root, mini=STUDY | {"models": ["m", "n"], "tasks": ["reviews"]})
    assert [r.digest for r in own.recipes] == [r.digest for r in plain.recipes]
    assert set(own.packs) == set(plain.packs)
    assert own.fingerprint == plain.fingerprint and settings(own) == settings(plain)


def test_also_may_define_too_and_its_definitions_are_the_whole_studys(root):
    also = [{"tasks": {"reviews": TASK}}, {"tasks": ["reviews"], "models": {"n": MODEL}}]
    found = loaded(root, mini=STUDY | {"also": also})
    cells = {r.cell() for r in found.recipes}
    assert cells == {"m/demo_sentiment/low", "m/reviews/low", "n/reviews/low"}


def test_paths_start_at_the_folder_of_params_wherever_the_study_lies(root):
    sandbox.write(root / "far" / "away.yaml", OWN)
    assert loaded(root, "far/away.yaml").sources() == loaded(root, mini=OWN).sources()


def test_a_definition_that_changes_makes_other_reports(root):
    before = loaded(root, mini=OWN)
    after = loaded(root, mini=OWN | {"tasks": {"reviews": TASK | {"stratify": True}}})
    assert after.fingerprint != before.fingerprint
    assert settings(after)["tasks"] != settings(before)["tasks"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": {"demo_sentiment": {"demo": True}}}, "tasks.demo_sentiment: "),
        ({"models": {"m": MODEL}}, "models.m: "),
        ({"also": [{"models": {"m": MODEL}}]}, "models.m: "),
    ],
)
def test_a_name_that_params_has_too_is_an_error_that_names_both_files(root, changes, words):
    line = refused(root, mini=OWN | changes)
    assert line.startswith(f"{root / 'studies' / 'mini.yaml'}: {words}")
    assert str(root / "params.yaml") in line


def test_it_is_one_also_where_the_definition_of_params_is_half_written(root):
    defined(root, "tasks", "reviews", HALF)
    assert "tasks.reviews" in refused(root, mini=OWN)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"learning_rate": None}, "tasks.reviews: no learning_rate for b_v"),
        ({"regimes": {}}, "tasks.reviews.regimes: no size for 'low'"),
        ({"models": {"nn": {}}}, "tasks.reviews.models: 'nn' unknown; did you mean 'n'?"),
        ({"decoder": {"models": {"nn": {}}}}, "tasks.reviews.decoder.models: 'nn' unknown"),
        ({"labels": None}, "tasks.reviews: not in the table of tasks"),
        ({"epochz": 1}, "tasks.reviews: unknown key 'epochz'; did you mean 'epochs'?"),
    ],
)
def test_what_is_wrong_with_a_studys_definition_names_its_file(root, task, words):
    line = refused(root, mini=OWN | {"tasks": {"reviews": TASK | task}})
    assert line.startswith(f"{root / 'studies' / 'mini.yaml'}: {words}")


def test_a_misspelt_name_finds_the_definitions_of_the_study(root):
    line = refused(root, mini=OWN | {"also": [{"tasks": ["review"]}]})
    assert "study 'mini': tasks: 'review' unknown; did you mean 'reviews'?" in line


@pytest.mark.parametrize("half", [HALF, {}, None, 5, [], {"path": "x", "text": 3}])
@pytest.mark.parametrize("section", ["models", "tasks"])
def test_a_half_written_definition_stops_only_the_studies_that_use_it(root, section, half):
    before = loaded(root, mini=STUDY)
    defined(root, section, "half", half)
    after = loaded(root, mini=STUDY)
    assert [r.digest for r in after.recipes] == [r.digest for r in before.recipes]
    assert after.fingerprint == before.fingerprint
    line = refused(root, "other", other=STUDY | {section: ["half"]})
    assert line.startswith(f"{root / 'params.yaml'}: {section}.half")


def test_so_does_one_whose_template_names_no_column(root):
    prompt = {"template": "{nothing}", "passage": "text", "answers": ["a", "b"]}
    defined(root, "tasks", "odd", TASK | {"prompt": prompt})
    assert loaded(root, mini=STUDY)
    assert "params.yaml: tasks.odd.prompt: " in refused(
        root, "other", other=STUDY | {"tasks": ["odd"]}
    )


def test_a_task_may_have_settings_for_a_model_that_is_half_written(root):
    defined(root, "models", "half", HALF)
    sandbox.change(root / "params.yaml", "tasks", "demo_sentiment", "models", to={"half": {}})
    assert loaded(root, mini=STUDY)


def test_pruning_says_which_study_needs_a_half_written_definition(root):
    defined(root, "tasks", "half", HALF)
    loaded(root, mini=STUDY)
    assert [p.name for p in studies_in_use(root / "params.yaml", [])] == ["mini", "mini"]
    sandbox.write(root / "studies" / "other.yaml", STUDY | {"tasks": ["half"]})
    with pytest.raises(UserError, match=r"study '.*other.yaml' is unclear: .*tasks.half"):
        studies_in_use(root / "params.yaml", [])


def test_a_union_has_the_definitions_of_its_studies(root):
    more = STUDY | {"models": {"n": MODEL}, "tasks": {"others": TASK}}
    union = {"union": ["one", "two"]}
    both = loaded(root, "both", one=OWN, two=more, both=union)
    assert {r.cell() for r in both.recipes} == {"m/reviews/low", "n/reviews/low", "n/others/low"}
    parts = [loaded(root, name) for name in ("one", "two")]
    assert {r.digest for r in both.recipes} == {r.digest for p in parts for r in p.recipes}


def test_studies_of_a_union_that_define_a_name_differently_are_refused(root):
    other = copy.deepcopy(OWN)
    other["tasks"]["reviews"]["epochs"] = 2
    line = refused(root, "both", one=OWN, two=other, both={"union": ["one", "two"]})
    assert line.startswith(f"{root / 'studies' / 'both.yaml'}: union: tasks.reviews ")
    assert all(str(root / "studies" / f"{name}.yaml") in line for name in ("one", "two"))


@pytest.mark.parametrize("study", [STUDY, OWN, STUDY | {"also": [{"models": {"n": MODEL}}]}])
def test_the_schema_for_editors_knows_definitions_in_studies(study):
    schema = json.loads((sandbox.ROOT / "workflow/schemas/study.schema.json").read_bytes())
    jsonschema.validate(study, schema)
    wrong = study | {"models": {"n": {"hubb": "own/m"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
