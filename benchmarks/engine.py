"""The engine against its peers: one run, a sweep, exact Fisher. Writes results/engine.json."""

import json
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from beft.engine.batches import collate
from beft.engine.encoder.gradients import log_likelihood
from beft.engine.gradients import measure
from benchmarks import measure as M
from benchmarks import ours, peers
from benchmarks.material import BATCH, EPOCHS, RATE, ROOT, material, recipe

REPEATS = 4  # one seed each
SWEEP = {"terms": list(peers.LINEARS), "seeds": [0, 1, 2, 3]}
FACTS = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}


def run() -> list[dict]:
    """All cases, written after each."""
    source = material()
    rows = []
    for case in (
        lambda: one_run("one_run_fp32", source, "float32", "peft"),
        lambda: one_run("one_run_best", source, "bfloat16", "peft"),
        lambda: fisher("fisher_1000", source, every=False),
        lambda: fisher("fisher_1000_all_gradients", source, every=True),
        sweep,
        lambda: one_run("one_run_best_freeze", source, "bfloat16", "freeze"),
    ):
        rows.append(case())
        M.save("engine", rows, material=source.name, **FACTS)
    return rows


def one_run(case: str, source, precision: str, kind: str) -> dict:
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
    return M.alternate(case, own, peer, REPEATS if kind == "peft" else 2, note)


def fisher(case: str, source, every: bool) -> dict:
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
    return M.alternate(case, own, loop, 2, note)


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


def sweep() -> dict:
    """Four terms, four seeds, from the start of the first process to the end of the last.

    The peer's runs go one by one, each with all cores, as a script in a loop does; ours as two
    jobs of one core each, as `snakemake --cores 2` starts them.
    """
    halves = [{**SWEEP, "terms": SWEEP["terms"][i::2], "precision": "bfloat16"} for i in (0, 1)]
    found: dict[str, list[float]] = {"ours": [], "peer": []}

    def own(repeat: int) -> tuple[float, float]:
        start = time.perf_counter()
        jobs = [_start("benchmarks.ours", half | {"threads": 1}) for half in halves]
        results = [json.loads(job.communicate()[0].splitlines()[-1]) for job in jobs]
        seconds = time.perf_counter() - start
        found["ours"] = [a for r in results for a in r["accuracies"]]
        of_v = next(r["by_term"]["v"] for r in results if "v" in r["by_term"])
        return seconds, statistics.fmean(of_v)

    def peer(repeat: int) -> tuple[float, float]:
        start, of_v = time.perf_counter(), []
        for term in SWEEP["terms"]:
            for seed in SWEEP["seeds"]:
                wish = {"kind": "peft", "term": term, "seed": seed, "precision": "bfloat16"}
                out = _start("benchmarks.peers", wish).communicate()[0]
                accuracy = json.loads(out.splitlines()[-1])["accuracy"]
                found["peer"].append(accuracy)
                of_v += [accuracy] if term == "v" else []
        return time.perf_counter() - start, statistics.fmean(of_v)

    row = M.alternate("sweep_4x4", own, peer, 1, "bfloat16, 16 runs, processes and all")
    return row | {"accuracies": found}


def _start(module: str, wish: dict) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(wish)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
