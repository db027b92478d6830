"""Settings and studies survive being written as YAML and read again."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import sandbox

from beft.study.fields import NAME, REGIMES
from beft.study.params import Params, TaskSettings
from beft.study.settings import Defaults, Objective, Overrides, Training
from beft.study.studies import FIGURES, TABLES, Selector, Study
from beft.study.yaml_file import read_yaml

COUNT = st.integers(1, 10**6)
FRACTION = st.floats(0, 1, exclude_max=True)
NOT_NEGATIVE = st.floats(0, 1e30)
POSITIVE = st.floats(0, 1e30, exclude_min=True)
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
SIZE = COUNT | st.just("all")
NAMES = st.text("aeZ019._-", min_size=1, max_size=6).filter(NAME.fullmatch)  # "1e9", "0.1", ...
EVERY = {
    "learning_rate": POSITIVE,
    "epochs": COUNT,
    "batch_size": COUNT,
    "max_length": COUNT,
    "weight_decay": NOT_NEGATIVE,
    "max_grad_norm": POSITIVE,
    "dropout": FRACTION,
    "precision": st.sampled_from(["float32", "bfloat16", "auto"]),
    "objective": st.sampled_from(get_args(Objective)),
    "scoring": st.sampled_from(["normalised", "plain", "calibrated"]),
    "evaluated": SIZE,
    "max_new_tokens": COUNT,
    "demonstrations": COUNT,
    "lora_rank": COUNT,
    "lora_alpha": COUNT,
    "prefix_tokens": COUNT,
    "held_out": FRACTION,
    "pooling": st.sampled_from(["first", "mean"]),
    "evaluations": st.sampled_from(["each_epoch", "last"]),
    "class_weights": st.sampled_from(["none", "balanced"]),
}
OVERRIDES = st.fixed_dictionaries({}, optional=EVERY)


def several(items: st.SearchStrategy) -> st.SearchStrategy[list]:
    return st.lists(items, min_size=1, max_size=4, unique=True)


LISTS = {
    "models": several(NAMES),
    "tasks": several(NAMES),
    "regimes": several(st.sampled_from(REGIMES)),
    "techniques": several(NAMES),
    "seeds": several(st.integers(0, 2**31 - 1)),
}
MORE = {
    "training": OVERRIDES,
    "selectors": st.lists(st.sampled_from(get_args(Selector)), unique=True),
}
STUDIES = st.fixed_dictionaries(
    LISTS,
    optional={
        **MORE,
        "description": PRINTABLE,
        "skip_inert": st.booleans(),
        "fuse_techniques": st.booleans(),
        "tables": st.lists(st.sampled_from(TABLES), unique=True),
        "figures": st.lists(st.sampled_from(FIGURES), unique=True),
        "also": st.lists(st.fixed_dictionaries({}, optional={**LISTS, **MORE}), max_size=2),
    },
)
PARAMS = st.fixed_dictionaries(
    {
        "study": NAMES,
        "training": st.fixed_dictionaries(
            {key: EVERY[key] for key in ("batch_size", "max_length", "weight_decay")}
            | {key: EVERY[key] for key in ("max_grad_norm", "precision")},
            optional={"learning_rate": EVERY["learning_rate"], "epochs": EVERY["epochs"]},
        ),
        "models": st.dictionaries(
            NAMES, st.builds(dict, hub=NAMES, revision=NAMES, parameters=COUNT), max_size=2
        ),
        "tasks": st.dictionaries(
            NAMES,
            st.builds(dict, demo=st.just(True), learning_rate=POSITIVE, decoder=OVERRIDES),
            max_size=2,
        ),
        "techniques": st.dictionaries(NAMES, OVERRIDES, max_size=2),
    },
    optional={"decoder": OVERRIDES},
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("settings") / "written.yaml"


@pytest.mark.parametrize(
    ("model", "data"), [(Overrides, OVERRIDES), (Study, STUDIES), (Params, PARAMS)]
)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(chosen=st.data())
def test_what_is_written_is_read_again(file, model, data, chosen):
    given_data = chosen.draw(data)
    made = model.model_validate(given_data)
    assert made.model_dump(mode="json", exclude_unset=True) == given_data
    for written in (given_data, made.model_dump(mode="json")):
        sandbox.write(file, written)
        assert model.model_validate(read_yaml(file)) == made


def test_every_setting_is_drawn_here():
    assert list(EVERY) == list(Overrides.model_fields) == list(Training.model_fields)


@pytest.mark.parametrize("cls", [Defaults, Training, TaskSettings])
def test_a_setting_has_one_help_text(cls):
    for name, field in Overrides.model_fields.items():
        assert cls.model_fields[name].description == field.description
