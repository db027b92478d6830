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


def with_pairs(**study: object) -> dict:
    return STUDY | {"training": {"objective": "contrastive_pairs"}} | study


def test_a_fitted_head_is_recorded():
    plain = grid()[0].training
    fitted = {"head": "fitted", "pooling": "mean"}
    (pairs,) = grid(study=with_pairs())
    assert pairs.training == plain | fitted | {"objective": "contrastive_pairs"}
    (probe,) = grid(study=STUDY | {"techniques": ["linear_probe"]})
    assert probe.training == plain | fitted | {"epochs": 0, "learning_rate": 0.0}


def test_what_only_measures_gradients_has_no_objective():
    study = with_pairs(selectors=["fisher"])
    untuned = [r for r in grid(study=study) if r.technique == "untuned"]
    assert [r.training.get("objective") for r in untuned] == [None]


@pytest.mark.parametrize("technique", ["full", "lora", "random_uniform"])
def test_the_loss_of_pairs_trains_biases_alone(technique):
    params = changed(PARAMS, "training", "lora_rank", 4)
    params = changed(params, "training", "lora_alpha", 4)
    with pytest.raises(UserError, match=f"trains biases alone, and {technique} trains more"):
        grid(params, with_pairs(techniques=[technique]))


@pytest.mark.parametrize("technique", ["head_only", "linear_probe"])
def test_the_loss_of_pairs_trains_something(technique):
    with pytest.raises(UserError, match=f"trains biases, and {technique} trains none"):
        grid(study=with_pairs(techniques=[technique]))


def test_the_loss_of_pairs_is_of_classes():
    task = {"labels": [], "metric": "spearman"}
    params = changed(PARAMS, "tasks", "sst2", PARAMS["tasks"]["sst2"] | task)
    with pytest.raises(UserError, match="compares classes, and this task has values"):
        grid(params, with_pairs())


def test_the_loss_of_pairs_is_of_encoders():
    params = changed(PARAMS, "models", "m", "kind", "decoder")
    with pytest.raises(UserError, match="is for encoders, and models.m is a decoder"):
        grid(params, with_pairs())


@pytest.mark.parametrize("study", [with_pairs(), STUDY | {"techniques": ["linear_probe"]}])
def test_a_fitted_head_reads_the_mean(study):
    (technique,) = study["techniques"]
    for pooling, fits in (("mean", True), ("first", False)):
        given = {**study.get("training", {}), "pooling": pooling}
        if fits:
            assert grid(study=study | {"training": given}) == grid(study=study)
        else:
            with pytest.raises(UserError, match=f"pooling first is set, and {technique} goes with"):
                grid(study=study | {"training": given})


# Settings that recipes hold only where they are not this, each with another value.
OPTIONAL = [
    ("held_out", 0.0, 0.2),
    ("pooling", "first", "mean"),
    ("evaluations", "each_epoch", "last"),
    ("class_weights", "none", "balanced"),
]


@pytest.mark.parametrize(("key", "default", "other"), OPTIONAL)
def test_a_default_is_no_part_of_a_recipe(key, default, other):
    plain, said, changed_ = (
        grid(study=STUDY | {"training": training})[0]
        for training in ({}, {key: default}, {key: other})
    )
    assert said.digest == plain.digest and key not in plain.training
    assert changed_.training == plain.training | {key: other}
    assert changed_.digest != plain.digest


def test_what_is_not_trained_has_a_head_and_no_further_setting():
    every = {key: other for key, _, other in OPTIONAL}
    (recipe,) = grid(study=STUDY | {"techniques": ["untuned"], "training": every})
    assert recipe.training["pooling"] == "mean"
    assert not {"held_out", "evaluations", "class_weights"} & set(recipe.training)


def test_class_weights_need_classes():
    params = changed(PARAMS, "tasks", "stsb", {**PARAMS["tasks"]["sst2"]})
    study = STUDY | {"tasks": ["sst2", "stsb"], "training": {"class_weights": "balanced"}}
    line = r"class_weights: balanced: tasks\.stsb is a regression.*set class_weights: none for it"
    with pytest.raises(UserError, match=line):
        grid(params, study)
    assert grid(params, study | {"tasks": ["sst2"]})


@pytest.mark.parametrize(("key", "value"), [("pooling", "mean"), ("class_weights", "balanced")])
def test_settings_of_encoders_are_refused_for_decoders(key, value):
    params = changed(PARAMS, "models", "m", {**PARAMS["models"]["m"], "kind": "decoder"})
    study = STUDY | {"training": {key: value}}
    with pytest.raises(UserError, match=rf"{key}: {value}: models\.m is a decoder"):
        grid(params, study)


def test_a_head_that_is_fitted_weights_classes_too():
    study = STUDY | {"techniques": ["linear_probe"], "training": {"class_weights": "balanced"}}
    assert grid(study=study)[0].training["class_weights"] == "balanced"


def test_the_loss_of_pairs_needs_two_examples_in_a_batch():
    study = with_pairs(training={"objective": "contrastive_pairs", "batch_size": 1})
    with pytest.raises(UserError, match="compares the examples of a batch, and batch_size is 1"):
        grid(study=study)
