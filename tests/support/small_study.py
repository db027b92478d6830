"""Definitions of two models and two tasks, a study of one run, and the runs that they give."""

import copy
from pathlib import Path

from beft.study import grid as G
from beft.study.params import Params
from beft.study.recipe import Recipe
from beft.study.studies import Study

PARAMS = {
    "study": "s",
    "training": {
        "batch_size": 16,
        "max_length": 128,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "precision": "float32",
    },
    "models": {"m": {"hub": "own/m", "revision": "r1"}, "n": {"hub": "own/n", "revision": "r1"}},
    "techniques": {},
    "tasks": {
        "sst2": {
            "hub": "own/d",
            "config": "sst2",
            "revision": "r2",
            "regimes": {"low": 10, "medium": 20},
            "learning_rate": 4e-4,
            "epochs": 16,
        },
        "rte": {"hub": "own/d", "revision": "r2", "learning_rate": 1e-3, "epochs": 3},
    },
}
STUDY = {
    "models": ["m"],
    "tasks": ["sst2"],
    "regimes": ["low"],
    "techniques": ["b_v"],
    "seeds": [0],
    "selectors": [],
}
WIDE = STUDY | {
    "models": ["m", "n"],
    "regimes": ["low", "medium"],
    "techniques": ["b_v", "b_q"],
    "seeds": [0, 3],
}


def changed(data: dict, *keys_and_value) -> dict:
    """A copy with one key set."""
    *keys, last, value = keys_and_value
    data = copy.deepcopy(data)
    place = data
    for key in keys:
        place = place.setdefault(key, {})
    place[last] = value
    return data


def grid(params: dict = PARAMS, study: dict = STUDY, root: Path = Path()) -> list[Recipe]:
    return G.grid(Params(**params), Study(**study), root)
