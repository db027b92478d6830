"""A small project whose runs of two tasks are done, of encoders and decoders, to be merged."""

import copy
import json
from pathlib import Path

from support import sandbox, tiny
from support.trained import everything

from beft.study.project import Project
from beft.study.recipe import Recipe

MODELS = {"tiny": "encoder", "rows": "encoder", "dec": "decoder", "free": "decoder"}
TASKS = ("one", "two")
TEXTS = {
    "one": [("the film was good", "good"), ("a bad dull plot", "bad"), ("this is great", "good")],
    "two": [("the cat sleeps", "good"), ("a man runs", "bad"), ("the dog likes it", "bad")],
}
TEXTS["three"] = [*TEXTS["one"][:2], ("it is fine", "fair")]


def params() -> dict:
    made = copy.deepcopy(sandbox.PARAMS)
    made["models"] = {
        name: {"path": f"models/{name}", "kind": kind} for name, kind in MODELS.items()
    }
    candidates = "cross_entropy_over_candidates"
    made["decoder"] = {"objective": candidates, "max_length": 64, "evaluated": "all"}
    made["tasks"] = {}
    for name, texts in TEXTS.items():
        labels = sorted({label for _, label in texts})
        made["tasks"][name] = {
            "path": name,
            "text": ["sentence"],
            "labels": labels,
            "metric": "accuracy",
            "prompt": {
                "template": "{sentence} It was",
                "passage": "sentence",
                "answers": [label if label != "fair" else "fine" for label in labels],
            },
            "learning_rate": 3e-2,
            "epochs": 2,
            "regimes": {"low": 12},
        }
    return made


def study() -> dict:
    pair = {"tasks": list(TASKS), "regime": "low", "technique": "b_v"}
    return {
        "models": list(MODELS),
        "tasks": list(TASKS),
        "regimes": ["low"],
        "techniques": ["b_v"],
        "seeds": [0],
        "selectors": [],
        "fuse_techniques": True,
        "merging": [{"model": model, **pair} for model in MODELS],
        "also": [
            {"models": ["tiny"], "seeds": [0, 1]},
            {"models": ["tiny"], "techniques": ["b_q", "untuned", "head_only"]},
            {"models": ["tiny"], "tasks": ["three"]},
        ],
        "tables": ["table2", "table3"],
        "figures": [],
    }


def make(folder: Path) -> Project:
    """The project, all of whose runs are done; its merges are not."""
    sandbox.make(folder, params(), study())
    tiny.checkpoint("deberta-v3", folder / "models" / "rows")  # no row serves it: padded
    tiny.decoder_checkpoint("opt", folder / "models" / "dec")
    tiny.decoder_checkpoint("llama", folder / "models" / "free")  # biases are added to it
    for task, texts in TEXTS.items():
        (folder / task).mkdir()
        for split in ("train", "validation"):
            lines = [{"sentence": f"{s} {i}", "label": k} for i in range(6) for s, k in texts]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / task / f"{split}.jsonl").write_text(text)
    return everything(folder)


def recipe(
    project: Project, model: str, task: str, seed: int = 0, technique: str = "b_v"
) -> Recipe:
    """One of its runs."""
    (found,) = (
        r
        for r in project.recipes
        if (r.model["alias"], r.task["name"], r.seed, r.technique) == (model, task, seed, technique)
    )
    return found
