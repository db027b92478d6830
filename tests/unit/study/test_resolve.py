"""Training settings of a run: which layer wins, and settings that nobody makes."""

import pytest
from support.small_study import PARAMS, STUDY, changed, grid

from beft.errors import UserError

# Layers that set learning_rate, from weakest to strongest, each with its own value.
LAYERS = [
    (("training", "learning_rate"), 1.0),
    (("tasks", "sst2", "learning_rate"), 2.0),
    (("tasks", "sst2", "models", "m", "learning_rate"), 3.0),
    (("study",), 4.0),
    (("techniques", "b_v", "learning_rate"), 5.0),
    (("tasks", "sst2", "techniques", "b_v", "learning_rate"), 6.0),
]


@pytest.mark.parametrize("strongest", range(len(LAYERS)))
def test_the_stronger_layer_wins(strongest):
    params, study = changed(PARAMS, "tasks", "sst2", "learning_rate", None), STUDY
    for keys, value in LAYERS[: strongest + 1]:
        if keys == ("study",):
            study = changed(study, "training", "learning_rate", value)
        else:
            params = changed(params, *keys, value)
    assert grid(params, study)[0].training["learning_rate"] == LAYERS[strongest][1]


def test_a_layer_that_says_nothing_leaves_the_weaker_one():
    params = changed(PARAMS, "tasks", "sst2", "models", {"m": {"epochs": 5}})
    (recipe,) = grid(params)
    assert (recipe.training["epochs"], recipe.training["learning_rate"]) == (5, 4e-4)
    assert recipe.training["batch_size"] == 16 and recipe.training["dropout"] is None


def test_what_trains_nothing_has_no_epochs_whatever_the_layers_say():
    study = changed(STUDY, "techniques", ["untuned"]) | {"training": {"epochs": 9}}
    (recipe,) = grid(study=study)
    assert (recipe.training["epochs"], recipe.training["learning_rate"]) == (0, 0.0)


@pytest.mark.parametrize("key", ["learning_rate", "epochs"])
def test_a_setting_that_nobody_makes_is_an_error(key):
    with pytest.raises(UserError, match=rf"tasks\.sst2: no {key} for b_v"):
        grid(changed(PARAMS, "tasks", "sst2", key, None))
