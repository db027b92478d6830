"""The engine against its peers: one run, a sweep, exact Fisher. Writes results/engine.json."""

import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from types import ModuleType

import numpy as np
import torch

from beft.engine.batches import collate
from beft.engine.encoder.gradients import log_likelihood
from beft.engine.gradients import measure
from benchmarks import measure as M
from benchmarks import ours, peers
from benchmarks.material import BATCH, EPOCHS, RATE, ROOT, Material, material, recipe
from benchmarks.random_material import tiny

REPEATS = 4  # one seed each
SEEDS = [0, 1, 2, 3]  # of each term of the sweep
FACTS = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}


def run(smoke: bool = False) -> list[dict]:
    """All cases, written after each; with `smoke`, of a tiny random model and once."""
    with tiny() if smoke else nullcontext(material()) as source:
        return _cases(source, smoke)


def _cases(source: Material, smoke: bool) -> list[dict]:
    many, few = (1, 1) if smoke else (REPEATS, 2)
    rows: list[dict] = []
    for case in (
        lambda: one_run("one_run_fp32", source, "float32", "peft", many),
        lambda: one_run("one_run_best", source, "bfloat16", "peft", many),
        lambda: fisher("fisher_1000", source, every=False, repeats=few),
        lambda: fisher("fisher_1000_all_gradients", source, every=True, repeats=few),
        lambda: sweep(source if smoke else None),
        lambda: one_run("one_run_best_freeze", source, "bfloat16", "freeze", few),
    ):
        rows.append(case())
        M.save("engine", rows, material=source.name, **FACTS)
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


def fisher(case: str, source: Material, every: bool, repeats: int) -> dict:
    """Exact squared gradients of all biases; the metric is the sum over v, which must be equal.

    Args:
        every: the loop leaves gradients on for all parameters, as such loops often do; else for
            the biases alone.
    """
    encoder = source.encoder()
    train, _ = source.encoded(encoder.tokenizer)

    def own(repeat: int) -> tuple[float, float]:
        start = time.perf_counter()
        found = measure(encoder, train, "cpu", 8, flat=True)
        return time.perf_counter() - start, float(found.mean_square["v"].sum())

    def loop(repeat: int) -> tuple[float, float]:
        start = time.perf_counter()
        total = _loop(encoder, train, every)
        return time.perf_counter() - start, total

    own(0)
    kind = "of all parameters" if every else "of the biases alone"
    note = f"float32, against a loop of batch size 1 with gradients {kind}"
    return M.alternate(case, own, loop, repeats, note)


def _loop(encoder, data, every: bool) -> float:
    """Sum over v of the mean squared gradient, one example at a time."""
    model = encoder.model.eval()
    wanted = {site.parameter for site in encoder.sites.sites}
    named = {n: p for n, p in model.named_parameters() if every or n in wanted}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in named)
    squares = {n: torch.zeros_like(p) for n, p in named.items() if n in wanted}
    for row in range(len(data)):
        batch = collate(data, np.array([row]), 0, "cpu")
        label = batch.pop("labels")
        likelihood = log_likelihood(model(**batch).logits, label).sum()
        grads = dict(zip(named, torch.autograd.grad(likelihood, list(named.values())), strict=True))
        for name, square in squares.items():
            square += grads[name] ** 2
    of_v = [site.parameter for site in encoder.sites.of("v")]
    return float(sum(squares[name].sum() for name in of_v)) / len(data)


def sweep(here: Material | None) -> dict:
    """Four terms, four seeds, from the start of the first process to the end of the last.

    The peer's runs go one by one, each with all cores, as a script in a loop does; ours as two
    jobs of one core each, as `snakemake --cores 2` starts them.

    Args:
        here: what to try it on in this process, one seed of each term; None measures processes.
    """
    seeds = SEEDS[:1] if here else SEEDS
    terms = list(peers.LINEARS)
    halves = [{"terms": terms[i::2], "seeds": seeds, "precision": "bfloat16"} for i in (0, 1)]
    found: dict[str, list[float]] = {"ours": [], "peer": []}

    def own(repeat: int) -> tuple[float, float]:
        start = time.perf_counter()
        results = _answers(ours, [half | {"threads": 1} for half in halves], here)
        seconds = time.perf_counter() - start
        found["ours"] = [a for r in results for a in r["accuracies"]]
        of_v = next(r["by_term"]["v"] for r in results if "v" in r["by_term"])
        return seconds, statistics.fmean(of_v)

    def peer(repeat: int) -> tuple[float, float]:
        start, of_v = time.perf_counter(), []
        for term in terms:
            for seed in seeds:
                wish = {"kind": "peft", "term": term, "seed": seed, "precision": "bfloat16"}
                (result,) = _answers(peers, [wish], here)
                found["peer"].append(result["accuracy"])
                of_v += [result["accuracy"]] if term == "v" else []
        return time.perf_counter() - start, statistics.fmean(of_v)

    row = M.alternate("sweep_4x4", own, peer, 1, "bfloat16, 16 runs, processes and all")
    return row | {"accuracies": found}


def _answers(side: ModuleType, wishes: list[dict], here: Material | None) -> list[dict]:
    """What one side answers to several wishes, each in a process of its own unless `here`."""
    if here:
        return [side.answer(here, wish) for wish in wishes]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", side.__name__, json.dumps(wish)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for wish in wishes
    ]
    return [json.loads(job.communicate()[0].splitlines()[-1]) for job in jobs]
