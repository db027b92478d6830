"""The engine against its peers: one run, a sweep, exact Fisher. Writes results/engine.json."""

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import ModuleType

import torch

from beft.engine.gradients import measure
from benchmarks import measure as M
from benchmarks import ours, peers
from benchmarks.material import BATCH, EPOCHS, RATE, ROOT, Material, material, recipe
from benchmarks.random_material import tiny

REPEATS = 4  # one seed each
SEEDS = [0, 1, 2, 3]  # of each term of the sweep
TERMS = list(peers.LINEARS)
ALONE = SEEDS[:1]  # seeds of the peer's scripts one by one; a script for each term takes minutes
FACTS = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE, "terms": TERMS}


def run(smoke: bool = False) -> list[dict]:
    """All cases, written after each; with `smoke`, of a tiny random model and once."""
    with tiny() if smoke else nullcontext(material()) as source:
        return _cases(source, smoke)


def _cases(source: Material, smoke: bool) -> list[dict]:
    many, few = (1, 1) if smoke else (REPEATS, 2)
    here = source if smoke else None
    rows: list[dict] = []
    for case in (
        lambda: one_run("one_run_best", source, "bfloat16", "peft", many),
        lambda: one_run("one_run_fp32", source, "float32", "peft", few),
        lambda: one_run("one_run_best_freeze", source, "bfloat16", "freeze", 1),
        lambda: fisher("fisher_1000", source, few),
        lambda: sweep("sweep_4x4", here, together=False),
        lambda: sweep("sweep_4x4_two_at_a_time", here, together=True),
    ):
        rows.append(case())
        M.save("engine", rows, material=source.name, examples=len(source.train), **FACTS)
    return rows


def one_run(case: str, source: Material, precision: str, kind: str, repeats: int) -> dict:
    """Training of b_v with a validation after each epoch; models and tokens are there before."""
    encoder = source.encoder()
    train, validation = source.encoded(encoder.tokenizer)

    def own(seed: int) -> tuple[float, float]:
        made = recipe(source, "b_v", seed, precision)
        seconds, accuracies = ours.train(encoder, [made], train, validation)
        return seconds, accuracies[0]

    def peer(seed: int) -> tuple[float, float]:
        return peers.train(peers.trainer_of(kind, source, "v", seed, precision))

    own(0)  # both warm
    names = {"peft": "Trainer + PEFT's BEFT", "freeze": "Trainer, all else frozen"}
    note = f"{precision}, {len(train)} examples, {EPOCHS} epochs, against {names[kind]}"
    return M.alternate(case, own, peer, repeats, note)


def fisher(case: str, source: Material, repeats: int) -> dict:
    """Exact squared gradients of all biases; the metric is the sum over v, which must be equal."""
    encoder = source.encoder()
    train, _ = source.encoded(encoder.tokenizer)
    biases = {site.parameter for site in encoder.sites.sites}
    model = peers.untuned(source)
    model.load_state_dict(encoder.model.state_dict())  # with the same head

    def own(repeat: int) -> tuple[float, float]:
        start = time.perf_counter()
        found = measure(encoder, train, "cpu", 8, flat=True)
        return time.perf_counter() - start, float(found.mean_square["v"].sum())

    def loop(repeat: int) -> tuple[float, float]:
        start = time.perf_counter()
        squares = peers.mean_squares(model, train, biases)
        seconds = time.perf_counter() - start
        return seconds, float(sum(squares[s.parameter].sum() for s in encoder.sites.of("v")))

    own(0)
    note = "float32, against a loop of batch size 1 with gradients of the biases alone"
    return M.alternate(case, own, loop, repeats, note)


def sweep(case: str, here: Material | None, together: bool) -> dict:
    """Four terms, four seeds, from the start of the first process to the end of the last.

    Ours are two jobs of one core each, as `snakemake --cores 2` starts them. A run of the peer's
    is a script of its own.

    Args:
        here: what to try it on in this process, one seed of each term; None measures processes.
        together: whether the peer's scripts go two at a time, each on one core. Otherwise they go
            one by one, each on all cores, as in a loop; those of some seeds stand for all.
    """
    seeds = SEEDS[:1] if here else SEEDS
    of_peer = seeds if together else ALONE
    threads = 1 if together else torch.get_num_threads()
    found: dict[str, dict[str, list[float]]] = {}

    def own(repeat: int) -> tuple[float, float]:
        halves = [{"terms": TERMS[i::2], "seeds": seeds} for i in (0, 1)]
        wishes = [half | {"precision": "bfloat16", "threads": 1} for half in halves]
        start = time.perf_counter()
        results = _answers(ours, wishes, 2, here)
        seconds = time.perf_counter() - start
        found["ours"] = {t: a[: len(of_peer)] for r in results for t, a in r["by_term"].items()}
        return seconds, _mean(found["ours"])

    def peer(repeat: int) -> tuple[float, float]:
        kind = {"kind": "peft", "precision": "bfloat16", "threads": threads}
        wishes = [kind | {"term": t, "seed": s} for t in TERMS for s in of_peer]
        start = time.perf_counter()
        results = iter(_answers(peers, wishes, 2 if together else 1, here))
        seconds = (time.perf_counter() - start) * len(seeds) / len(of_peer)
        found["peer"] = {t: [next(results)["accuracy"] for _ in of_peer] for t in TERMS}
        return seconds, _mean(found["peer"])

    measured = f"{len(TERMS) * len(of_peer)} of {len(TERMS) * len(seeds)} scripts"
    order = "two at a time, one core each" if together else "one by one"
    note = f"bfloat16, processes and all; the peer's scripts {order}, {measured} measured"
    return M.alternate(case, own, peer, 1, note) | {"accuracies": found}


def _mean(by_term: dict[str, list[float]]) -> float:
    return statistics.fmean(a for accuracies in by_term.values() for a in accuracies)


def _answers(
    side: ModuleType, wishes: list[dict], at_once: int, here: Material | None
) -> list[dict]:
    """What one side answers to several wishes, each in a process of its own unless `here`."""
    if here:
        return [side.answer(here, wish) for wish in wishes]

    def answer(wish: dict) -> dict:
        words = [sys.executable, "-m", side.__name__, json.dumps(wish)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(wish["threads"]))
        own = os.environ | threads
        done = subprocess.run(words, cwd=ROOT, env=own, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(at_once) as workers:
        return list(workers.map(answer, wishes))
