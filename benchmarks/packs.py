"""What a run costs: by runs per pack, by training examples, and against the floor that the matrix
units set. Writes results/packs.json."""

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch

from beft.data.encoded import Encoded
from benchmarks import measure as M
from benchmarks import ours, peers
from benchmarks.material import Material, material, recipe
from benchmarks.random_material import tiny

RUNS = (1, 2, 4, 8, 16)
EXAMPLES = (250, 1000, 4000)
PRECISION = "bfloat16"
EPOCHS, REPEATS = 1, 3  # repetitions of packs of one run
PASSES = 50  # of a product, for the matrix rate
COLUMNS = ["case", "ours_seconds", "seconds_per_run", "times_floor", "peer_seconds", "ratio"]


def run(smoke: bool = False) -> list[dict]:
    """All cases, written after each; with `smoke`, few of a tiny random model."""
    with tiny() if smoke else nullcontext(material()) as source:
        if smoke:
            return _cases(source, RUNS[:2], {len(source.train): source})
        return _cases(source, RUNS, {count: material(count) for count in EXAMPLES})


def _cases(
    source: Material, runs: Sequence[int], by_examples: Mapping[int, Material]
) -> list[dict]:
    encoder = source.encoder()
    train, validation = source.encoded(encoder.tokenizer)
    rows: list[dict] = []
    facts = floor_seconds(encoder, train, validation)

    def keep(row: dict) -> None:
        rows.append(row)
        M.report(row)
        M.save("packs", rows, material=source.name, epochs=EPOCHS, precision=PRECISION, **facts)

    def own(count: int, train: Encoded, precision: str = PRECISION) -> float:
        pack = [recipe(source, "b_v", seed, precision, epochs=EPOCHS) for seed in range(count)]
        return ours.train(encoder, pack, train, validation)[0]

    def pack(case: str, count: int, precision: str) -> dict:
        repeats = REPEATS if count == 1 else 1
        seconds = [own(count, train, precision) / count for _ in range(repeats)]
        each = statistics.median(seconds)
        return {
            "case": case,
            "ours_seconds": round(count * each, 3),
            "seconds_per_run": round(each, 3),
            "times_floor": round(each / facts["floor_seconds"][precision], 2),
            "raw": [round(s, 3) for s in seconds],
        }

    own(1, train)
    keep(pack("float32_1", 1, "float32"))
    for count in runs:
        keep(pack(f"pack_{count}", count, PRECISION))
    for examples, some in by_examples.items():
        part, _ = some.encoded(encoder.tokenizer)
        trainer = peers.trainer_of("peft", some, "v", 0, PRECISION, EPOCHS)
        row = M.alternate(
            f"examples_{examples}",
            lambda repeat, part=part: (own(1, part), 0.0),
            lambda repeat, trainer=trainer: (peers.train(trainer)[0], 0.0),
            repeats=1,
        )
        keep({k: row[k] for k in ("case", "ours_seconds", "peer_seconds", "ratio")})
    return rows


def floor_seconds(encoder, train, validation) -> dict:
    """Matrix rates, and the seconds that the products of one epoch take at least.

    Real tokens times parameters of the layers' linear modules; forward and backward to activations
    in training, forward in validation; no more than the first token behind the last attention.
    """
    weights = [
        m.weight.numel() for m in encoder.model.base_model.encoder.modules() if _is_linear(m)
    ]
    last = encoder.sites.of("attention_output")[-1].module.partition(".attention.")[0]
    behind = [
        m.weight.numel()
        for n, m in encoder.model.get_submodule(last).named_modules()
        if _is_linear(m) and not n.startswith("attention.self")
    ]
    trained, scored = (sum(map(len, data.ids)) for data in (train, validation))
    work = 2 * (sum(weights) - sum(behind)) * (2 * trained + scored)
    work += 2 * sum(behind) * (2 * len(train) + len(validation))
    rates = {str(d).partition(".")[2]: _rate(d) for d in (torch.float32, torch.bfloat16)}
    return {
        "training_tokens": trained,
        "validation_tokens": scored,
        "gflops": {name: round(rate / 1e9) for name, rate in rates.items()},
        "floor_seconds": {name: round(work / rate, 6) for name, rate in rates.items()},
    }


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def _rate(dtype: torch.dtype) -> float:
    """Operations per second of the best of a few products of the size of a pass."""
    x, weight = torch.randn(2048, 384).to(dtype), torch.randn(1536, 384).to(dtype)
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        seconds.append(time.perf_counter() - start)
    return 2 * x.shape[0] * weight.numel() / min(seconds)
