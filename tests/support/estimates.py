"""A study whose costs are easy to count, and runs of it with made-up provenance."""

from support import sandbox

from beft.store import accepted_code
from beft.store.files import to_json, write_folder

PARAMS = {
    **sandbox.PARAMS,
    "decoder": {"batch_size": 8, "max_length": 300, "precision": "auto", "epochs": 3,
                "learning_rate": 1e-3, "objective": "cross_entropy_over_candidates",
                "evaluated": 25, "max_new_tokens": 7},
    "models": {
        "m": {"hub": "own/m", "revision": "r", "parameters": 100_000_000},
        "d": {"hub": "own/d", "revision": "r", "parameters": 1_000_000_000, "kind": "decoder"},
    },
    "techniques": {
        "untuned": {"batch_size": 8}, "icl": {"demonstrations": 32},
        "lora": {"lora_rank": 8, "lora_alpha": 16},
    },
    "tasks": {
        "sst2": {"hub": "own/t", "revision": "r", "learning_rate": 1e-3, "epochs": 3,
                 "regimes": {"low": 50, "medium": 60, "high": 70}},
        "squad": {"hub": "own/s", "revision": "r", "learning_rate": 1e-3,
                  "decoder": {"objective": "language_model_on_answer", "regimes": {"low": 50}}},
    },
}  # fmt: skip
STUDY = {
    "models": ["m"],
    "tasks": ["sst2"],
    "regimes": ["low", "medium", "high", "all"],
    "techniques": ["b_v", "full", "head_only"],
    "seeds": [0, 1, 2],
    "selectors": ["fisher"],
    "also": [
        {"models": ["d"], "techniques": ["b_v", "lora", "icl"]},
        {"models": ["d"], "tasks": ["squad"], "regimes": ["low"], "techniques": ["b_v"]},
    ],
}


def finish(project, recipe, seconds, **facts) -> None:
    """Writes what estimates read of a finished run, in a folder that counts."""
    facts = {"device": "cuda", "hardware": "H", "threads": 1, "precision": "float32"} | facts
    facts |= {"seconds": seconds, "code": accepted_code.accepted()[-1]}
    facts |= {"inputs": {"source": {}, "model": {}}, "versions": {}, "peak_memory_mb": 1.0}
    scores = dict.fromkeys(recipe.task["validation"], {"best": 0.5, "last": 0.5})
    metrics = {"status": facts.get("status", "ok"), "reason": "", "metric": recipe.task["metric"]}
    metrics |= {"splits": scores, "best_epoch": 1, "epochs": 1, "train_examples": 1}
    metrics |= {"trainable_params": 1, "trainable_percent": 1.0}
    files = {"recipe.json": recipe.to_dict(), "provenance.json": facts, "metrics.json": metrics}
    write_folder(project.layout.run(recipe), {n: to_json(data) for n, data in files.items()})
