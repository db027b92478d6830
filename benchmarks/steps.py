"""What a training step is made of: torch operations, and where their time goes.

Counted by torch's profiler, which counts operations within operations, too. Its own cost is part
of the times, so shares of small operations look larger than they are. Writes results/steps.json.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from torch.profiler import ProfilerActivity, profile

from beft.engine.dispatch import engine
from beft.models.encoder import load_encoder
from benchmarks import measure as M
from benchmarks import peers
from benchmarks.material import BATCH, Material, material, recipe
from benchmarks.random_material import tiny

COUNTED = 10  # steps; each has other lengths
PACKS, PRECISION = (1, 8), "bfloat16"  # runs in a pack
COLUMNS = ["case", "operations", "products", "attention", "note"]
PRODUCTS = re.compile(r".*linear.*|mm|mm_|addmm_?|_addmm_activation")  # with weights
ATTENTION = re.compile(r"bmm|baddbmm_?|.*softmax.*|.*attention.*")
Step = Callable[[int], None]  # of a number from 0


def run(smoke: bool = False) -> list[dict]:
    """A row for a pack of one run, of eight, and for the peer."""
    with tiny() if smoke else nullcontext(material()) as source:
        rows = []
        for count in PACKS:
            with steps_of(source, count, PRECISION) as step:
                rows.append(_row(f"steps_{count}", lambda step=step: _several(step), "ours"))
        changes = {"eval_strategy": "no", "max_steps": COUNTED}
        trainer = peers.trainer_of("peft", source, "v", 0, PRECISION, **changes)
        trainer.train()  # warm
        rows.append(_row("steps_peer", trainer.train, "Trainer + PEFT's BEFT"))
        M.save("steps", rows, material=source.name, precision=PRECISION, counted=COUNTED)
    return rows


def _several(step: Step) -> None:
    for number in range(COUNTED):
        step(number)


@contextmanager
def steps_of(source: Material, runs: int, precision: str, device: str = "cpu") -> Iterator[Step]:
    """The training steps of a pack of b_v, once it is warm."""
    encoder = load_encoder(source.model, 2, device=device)
    train = source.encoded(encoder.tokenizer)[0]
    made = [recipe(source, "b_v", seed, precision) for seed in range(runs)]
    used = engine(encoder, made, [train] * runs, device, flat=True)
    batches = np.array_split(np.arange(len(train)), max(1, len(train) // BATCH))

    def step(number: int) -> None:
        rows = batches[number % len(batches)]
        used.step(dict.fromkeys(range(runs), rows), dict.fromkeys(range(runs), number))

    try:
        step(0)
        yield step
    finally:
        used.close()


def _row(case: str, work: Callable[[], object], note: str) -> dict:
    """Operations of a step, and the shares of the processor's time in groups of them."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    events = [e for e in seen.key_averages() if re.match(r"\w+::", e.key)]
    spent = {e.key.partition("::")[2]: e.self_cpu_time_total for e in events}
    whole = sum(spent.values())

    def share(group: re.Pattern) -> float:
        return round(sum(t for name, t in spent.items() if group.fullmatch(name)) / whole, 3)

    largest = sorted(spent, key=lambda name: -spent[name])[:8]
    return {
        "case": case,
        "operations": round(sum(e.count for e in events) / COUNTED),
        "products": share(PRODUCTS),
        "attention": share(ATTENTION),
        "largest": {name: round(spent[name] / whole, 3) for name in largest},
        "note": note,
    }
