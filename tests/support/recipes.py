"""Recipes for tests of the engine, without a project around them."""

from dataclasses import replace

from beft.study.recipe import Recipe


def recipe(technique: str = "b_v", labels: int = 2, seed: int = 5, **training: object) -> Recipe:
    """Three epochs of four examples a step at a rate of 0.01, and whatever is said otherwise."""
    settings = {
        "learning_rate": 1e-2,
        "epochs": 3,
        "batch_size": 4,
        "max_length": 128,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "dropout": None,
        "precision": "float32",
        **training,
    }
    task = {
        "name": "t",
        "labels": [str(i) for i in range(labels)] if labels > 1 else [],
        "metric": "accuracy" if labels > 1 else "spearman",
        "validation": ["validation"],
    }
    subset = {"regime": "low", "size": 10, "stratify": False}
    return Recipe({"alias": "tiny"}, task, "0", subset, technique, seed, settings)


def prompted(technique: str = "b_v", seed: int = 5, **training: object) -> Recipe:
    """The same for a decoder that is trained on candidates."""
    settings = {"objective": "cross_entropy_over_candidates", "scoring": "normalised", **training}
    made = recipe(technique, seed=seed, **settings)
    return replace(made, model={"alias": "tiny", "kind": "decoder"})
