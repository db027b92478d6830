"""Bias-only training of base-sized encoders on one GPU: our packs against Trainer with PEFT.

`python -m benchmarks gpu`. Nothing is fetched: the models have the
shapes of BERT-base and RoBERTa-base and random weights, and the sentences are random words. Their
lengths are like SST-2's, where training texts are phrases of about 13 tokens and validation texts
sentences of about 25: drawn log-normal from a fixed seed, within 4 and 128 tokens, special ones
included. So times and memory mean something here, and accuracies nothing.

Both sides train b_v with the head on 1,000 examples for two epochs, in batches of 16, in bfloat16
with dropout, and score 872 examples after each epoch. The clock runs from a loaded model and
tokenised data to the last score: it leaves out what starting a script for each run would cost the
peer, and our checkpoints are inside. The peer trains one run at a time, so the seconds of a pack's
runs are those of one, times their number.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PrinterCallback

from beft.data.encoded import Encoded
from beft.models.encoder import load_encoder
from beft.models.loading import quiet_transformers
from beft.training.provenance import peak_memory_mb, reset_peak_memory
from benchmarks import measure as M
from benchmarks import ours, peers
from benchmarks.material import EPOCHS, Material, recipe
from benchmarks.random_material import CONFIGS, SMALL, WHOLE, random_material
from benchmarks.steps import steps_of

PACKS = {"bert_base": (1, 4, 16, 32), "roberta_base": (1, 32)}  # runs per pack
REPEATS, MATRIX = 2, 8192  # of each case; width of a product
FEW = 64  # examples to warm up with
FIGURES = ("ours_seconds", "peer_seconds", "ratio", "runs_per_hour", "peer_runs_per_hour")
FIGURES += ("peak_memory_mb", "peer_peak_memory_mb", "matrix_share")
SHOWN = ["case", "ours_seconds", "peer_seconds", "ratio", "peak_memory_mb", "matrix_share"]
SHOWN += ["kernels_per_step", "waits_per_step", "note"]  # the others are in the file of results
STEPS = 5  # that are profiled


def run(smoke: bool = False) -> list[dict]:
    """A row for each model and number of runs per pack.

    Args:
        smoke: two narrow layers, few examples, and the CPU where there is no GPU.

    Returns:
        Rows with `case`, `repeats`, `note` and figures; these are absent, and the note says
        "not measured", when there is no GPU. `peer_seconds` is of all runs of the pack.
        `matrix_share` is the rate at which our side takes real tokens through the linear layers,
        as a share of that of a big product; work that is spared counts as done.
        `kernels_per_step` and `waits_per_step` count what a training step of the pack starts on the
        GPU, and how often it waits for the GPU; 0 on a CPU.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not smoke:
        return [{"case": f"gpu_{name}", "note": "not measured: no GPU"} for name in CONFIGS]
    size, repeats = (SMALL, 1) if smoke else (WHOLE, REPEATS)
    rate = matrix_rate(device, 256 if smoke else MATRIX)
    rows: list[dict] = []
    for name in CONFIGS:
        with random_material(name, size) as material:
            work, peer = flops(material), _peer(material, device, repeats)
            for runs in (1, 4) if smoke else PACKS[name]:
                own = _ours(material, runs, device, repeats)
                found = _figures(runs, own, peer, runs * work / rate)
                kernels, waits = launches(material, runs, device)
                found |= {"kernels_per_step": kernels, "waits_per_step": waits}
                rows.append({"case": f"gpu_{name}_{runs}", **found, "repeats": repeats, "note": ""})
                print(f"{rows[-1]['case']}: {found}", file=sys.stderr, flush=True)
                if not smoke:
                    M.save("gpu", rows, matrix_tflops=round(rate / 1e12, 1))
    return rows


def _figures(runs: int, own: tuple, peer: tuple, fastest: float) -> dict[str, float]:
    ours_seconds, peer_seconds = own[0], runs * peer[0]
    rates = (runs * 3600 / ours_seconds, runs * 3600 / peer_seconds)
    times = (ours_seconds, peer_seconds, peer_seconds / ours_seconds)
    values = (*times, *rates, own[1], peer[1], fastest / ours_seconds)
    return {name: round(value, 4) for name, value in zip(FIGURES, values, strict=True)}


def flops(material: Material) -> float:
    """Of one run in the linear layers of the encoder, for real tokens alone.

    Training goes forward, and backward through activations but not to weights: two passes.
    """
    encoder = material.encoder()
    layers = encoder.model.base_model.encoder.modules()
    weights = sum(m.weight.numel() for m in layers if isinstance(m, torch.nn.Linear))
    train, validation = (sum(map(len, e.ids)) for e in material.encoded(encoder.tokenizer))
    return 2.0 * weights * EPOCHS * (2 * train + validation)


def launches(material: Material, runs: int, device: str) -> tuple[float, float]:
    """(kernels that a training step of the pack starts, times that it waits for the GPU)."""
    on_gpu = [ProfilerActivity.CUDA] if device != "cpu" else []
    with (
        steps_of(material, runs, "bfloat16", device) as step,
        profile(activities=[ProfilerActivity.CPU, *on_gpu]) as seen,
    ):
        for number in range(STEPS):
            step(number)
    counts = {event.key: event.count for event in seen.key_averages()}
    started = sum(n for key, n in counts.items() if "LaunchKernel" in key)
    waits = sum(n for key, n in counts.items() if "Synchronize" in key)
    return started / STEPS, waits / STEPS


def matrix_rate(device: str, width: int) -> float:
    """Operations per second of one big bfloat16 product: what is there to be used."""
    a, b = (torch.randn(width, width, device=device).bfloat16() for _ in range(2))
    times = []
    for _ in range(10):
        _wait(device)
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        _wait(device)
        times.append(time.perf_counter() - start)
    return 4 * 2 * width**3 / statistics.median(times)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _forget(device: str) -> None:
    """What an earlier model left behind shall not count as the next one's memory."""
    gc.collect()
    _wait(device)
    torch.cuda.empty_cache()  # does nothing where CUDA is not in use


def _measured(run: Callable[[int], float], device: str, repeats: int) -> tuple[float, float]:
    """(median of the seconds that `run` of a seed gives, peak memory in MB)."""
    _forget(device)
    reset_peak_memory(device)
    seconds = statistics.median(run(seed) for seed in range(repeats))
    return seconds, peak_memory_mb(device)


def _ours(material: Material, runs: int, device: str, repeats: int) -> tuple[float, float]:
    encoder = load_encoder(material.model, 2, device=device)
    data = material.encoded(encoder.tokenizer)

    def run(first: int, data: tuple[Encoded, Encoded] = data, epochs: int = EPOCHS) -> float:
        seeds = range(first * runs, (first + 1) * runs)
        made = [recipe(material, "b_v", s, "bfloat16", epochs=epochs) for s in seeds]
        return ours.train(encoder, made, *data, device)[0]

    run(repeats, tuple(d.take(np.arange(min(len(d), FEW))) for d in data), epochs=1)  # warms up
    return _measured(run, device, repeats)


def _peer(material: Material, device: str, repeats: int) -> tuple[float, float]:
    few = replace(material, train=material.train[:FEW], validation=material.validation[:FEW])

    def run(seed: int, material: Material = material, epochs: int = EPOCHS) -> float:
        _forget(device)
        with quiet_transformers():
            trainer = peers.trainer_of("peft", material, "v", seed, "bfloat16", epochs)
        trainer.remove_callback(PrinterCallback)
        return peers.train(trainer)[0]

    run(repeats, few, epochs=1)  # warms up
    return _measured(run, device, repeats)
