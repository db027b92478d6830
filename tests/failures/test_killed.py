"""Packs that are killed, and stopped, again and again end with the bytes of undisturbed ones."""

import json
import random
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors import safe_open
from support import sandbox, tiny
from support.whole import differences

from beft.cli.data import fetch, subsample
from beft.study.project import load

STEPS = 2  # of an epoch: 16 examples, 8 at once
# Encoder: four runs that share a model, two that change weights, two that are only measured.
ENCODER = {"techniques": ["b_v", "all_biases", "full", "untuned"]}
DECODER = {"techniques": ["b_v", "b_q", "lora"]}


class Moment(NamedTuple):
    """The n-th time that a process enters a phase, and how far into it."""

    phase: str
    entry: int
    share: float
    number: int = signal.SIGKILL


def moments(phase: str, count: int, entries: int, end: float = 1.0) -> list[Moment]:
    """Seeded moments in the first `entries` times of a phase, none later in it than `end`."""
    own = random.Random(f"20/{phase}")
    return [Moment(phase, own.randint(1, entries), end * own.random()) for _ in range(count)]


def stop(entry: int) -> Moment:
    return Moment("step", entry, 0.5, signal.SIGTERM)


def prepared(folder: Path, kind: str) -> Path:
    """A project with everything that its pack needs, nothing trained."""
    params = json.loads(json.dumps(sandbox.PARAMS))
    params["tasks"]["demo_sentiment"] |= {"epochs": 8, "learning_rate": 1e-3}
    study = sandbox.STUDY | {"selectors": [], "seeds": [0, 1]}
    if kind == "decoder":
        tiny.decoder_checkpoint("opt", folder / "models" / "causal")
        params["models"]["causal"] = {"path": "models/causal", "kind": "decoder"}
        params["techniques"]["lora"] = {"lora_rank": 2, "lora_alpha": 4}
        params["decoder"] = {
            **{"batch_size": 8, "precision": "float32", "evaluated": 16},
            **{"objective": "cross_entropy_over_candidates", "scoring": "normalised"},
        }
        study |= DECODER | {"models": ["causal"], "seeds": [0]}
    else:
        study |= ENCODER
    sandbox.make(folder, params, study)
    fetch(params=folder / "params.yaml")
    for subset in load(folder / "params.yaml").subsets:
        subsample(folder / "data" / "subsets" / subset, params=folder / "params.yaml")
    return folder


def journal(path: Path) -> list[list]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def lengths(said: list[list]) -> dict[str, int]:
    """How many calls a phase takes, on average; the manifest's is from the last run's to the end"""
    spans: dict[str, list[tuple[int, int]]] = {}
    for _, name, begin, end in (line for line in said if line[0] == "phase"):
        spans.setdefault(name, []).append((begin, end))
    found = {name: sum(e - b for b, e in own) // len(own) for name, own in spans.items()}
    return found | {"manifest": spans["pack"][0][1] - spans["manifest"][0][0]}


def position(state: list[int]) -> int:
    """Steps since the run began."""
    return STEPS * state[0] + state[1]


def on_disk(folder: Path) -> dict[str, int]:
    """Steps of every run that has a checkpoint, which is always readable."""
    found = {}
    for path in folder.glob("data/work/group-*/checkpoint.safetensors"):
        with safe_open(path, "np") as file:
            metadata = file.metadata()
        states = [position([s["epoch"], s["step"]]) for s in json.loads(metadata["states"])]
        found |= dict(zip(metadata["digests"].split(), states, strict=True))
    return found


# 20 kills, from the beginning of a pack's life to its end, and two polite requests to stop.
PLANS = {
    "encoder": [
        *moments("pack", 2, 1, end=0.2),
        *moments("resume", 1, 1),
        *moments("step", 3, 4),
        stop(2),
        *moments("save", 2, 4),
        *moments("evaluate", 2, 2),
        *moments("folder", 2, 3),
        *moments("measure", 1, 1),
        *moments("manifest", 1, 1),
    ],
    "decoder": [
        *moments("pack", 1, 1, end=0.2),
        *moments("step", 1, 4),
        stop(1),
        *moments("evaluate", 1, 1),
        *moments("folder", 2, 2),
        *moments("manifest", 1, 1),
    ],
}


@pytest.mark.parametrize("kind", PLANS)
def test_killed_again_and_again(tmp_path, kind):
    quiet = prepared(tmp_path / "quiet", kind)
    noisy = Path(shutil.copytree(quiet, tmp_path / "noisy"))
    (key,) = load(quiet / "params.yaml").packs
    command = ("train", "--threads", "1", "--checkpoint-seconds", "0", f"data/packs/{key}")
    done = sandbox.beft(
        quiet, *command, plant=("support.moments.watch", str(tmp_path / "quiet.txt"))
    )
    assert done.status == 0, done.said
    life = lengths(journal(tmp_path / "quiet.txt"))

    reached: dict[str, int] = {}  # steps done by any process
    struck: set[str] = set()
    for i, (phase, entry, share, number) in enumerate(PLANS[kind]):
        kept = on_disk(noisy)
        path = tmp_path / f"{i}.txt"
        plant = (
            "support.moments.watch",
            str(path),
            phase,
            entry,
            int(share * life[phase]),
            int(number),
        )
        done = sandbox.beft(noisy, *command, plant=plant)
        said = journal(path)
        (signalled,) = [line for line in said if line[0] == "signal"]
        struck |= {*signalled[2]}
        assert done.status == (143 if number == signal.SIGTERM else -9), done.said
        assert not (noisy / "data" / "packs" / key).exists()
        check_steps(said, kept, on_disk(noisy), reached)
    assert {"step", "evaluate", "folder"} <= struck
    done = sandbox.beft(noisy, *command)
    assert done.status == 0, done.said
    assert differences(noisy, quiet) == []
    assert not list(noisy.rglob(".*.tmp"))
    # a dead owner's lock of a run that was written just before harms nobody
    assert {path.stem for path in noisy.glob("data/work/*/*")} <= {"lock"}


def check_steps(said: list[list], before: dict, after: dict, reached: dict) -> None:
    """What a process resumed is what was on disk, and a kill loses at most the last step."""
    for kind, *states in said:
        if kind == "resume":
            resumed = {run: position(state) for run, state in states[0].items()}
            assert resumed == {run: before[run] for run in resumed}
        if kind == "step":
            for run, state in states[0].items():
                reached[run] = max(reached.get(run, 0), position(state))
    assert all(position >= reached.get(run, 0) - 1 for run, position in after.items())
