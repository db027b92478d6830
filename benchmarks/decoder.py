"""Decoders against the usual loops: one forward per candidate, one prompt per generation.

In-context learning is measured against the same code that computes each prompt from its start.

Writes results/decoder.json.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from beft.data.demonstrations import draw
from beft.data.prompts import Prompts, encode_prompts
from beft.engine.decoder import prefixes
from beft.engine.decoder.answer import answers
from beft.engine.decoder.generate import newline_ids
from beft.models import demo
from beft.models.decoder import Decoder, load_decoder
from beft.study.params import Task
from beft.study.resolve import resolve_task
from beft.tasks.demo.generate import generate
from beft.tasks.prompts import words_of
from beft.tasks.words import Words
from benchmarks import measure as M
from benchmarks.material import MIRROR

MODEL = "local/opt-mini-english"
LENGTH, NEW_TOKENS, REPEATS = 512, 50, 2
GENERATED = 200  # examples: the peer takes seconds for each
DATASETS = {
    "sst2": ("nyu-mll/glue", "sst2"),
    "copa": ("aps/super_glue", "copa"),
    "squad": ("rajpurkar/squad", None),
}
SCORED, ANSWERED = ("sst2", "copa"), ("squad",)
DEMO_SCORED, DEMO_ANSWERED = ("demo_sentiment", "demo_choice"), ("demo_answer",)
DEMO_EXAMPLES = 4
DEMONSTRATIONS = 32  # of in-context learning, where they fit


def run(smoke: bool = False) -> list[dict]:
    """All cases, written after each; none where the mirror is not there.

    Args:
        smoke: the demo's decoder on a few examples of its tasks, once.
    """
    folder = Path(demo.__file__).parent / "opt" if smoke else MIRROR / "models" / MODEL
    if not folder.is_dir():
        print(f"benchmarks: decoder: {folder} is not there; set BEFT_MIRROR")
        return []
    decoder, rows = load_decoder(folder), []
    for case, names, side in (
        ("decoder_scoring", DEMO_SCORED if smoke else SCORED, scoring),
        ("decoder_generation", DEMO_ANSWERED if smoke else ANSWERED, generation),
    ):
        data = {name: prompts(decoder, name) for name in names}
        rows.append(side(case, decoder, data, 1 if smoke else REPEATS))
        M.save("decoder", rows, model=folder.name if smoke else MODEL, max_length=LENGTH)
    name = DEMO_SCORED[0] if smoke else SCORED[0]
    shown = {name: prompts(decoder, name, DEMONSTRATIONS)}
    rows.append(in_context("decoder_in_context", decoder, shown, 1 if smoke else REPEATS))
    M.save("decoder", rows, model=folder.name if smoke else MODEL, max_length=LENGTH)
    return rows


def prompts(decoder: Decoder, name: str, demonstrations: int = 0) -> Prompts:
    """The validation split of a task, tokenised; what both sides are given.

    Args:
        demonstrations: how many training examples precede each prompt, where they fit.
    """
    view, words = _words(name, "validation")
    if view["kind"] == "generation":
        words = words[:GENERATED]
    room = NEW_TOKENS if view["kind"] == "generation" else 0
    solved = draw(_words(name, "train")[1], demonstrations, 0) if demonstrations else None
    return encode_prompts(
        words, decoder.tokenizer, LENGTH, room=room, demonstrations=solved, where=name
    )


def _words(name: str, split: str) -> tuple[dict, list[Words]]:
    """A task's prompt, and the examples of a split: those of the mirror, or a few of the demo's."""
    if name in DATASETS:
        hub, config = DATASETS[name]
        path = MIRROR / "datasets" / hub / (config or "") / f"{split}.parquet"
        table, task = pq.read_table(path), Task(hub=hub, config=config, revision="x")
    else:
        table = pa.table(generate(name, split)).slice(0, DEMO_EXAMPLES)
        task = Task(demo=True)
    view = resolve_task(name, task).prompt_dict()
    return view, words_of(table, {"name": name, **view}, name)


def metric(data: dict[str, Prompts], found: dict[str, np.ndarray], name: str) -> float:
    """The mean over tasks."""
    return float(np.mean([data[t].evaluate(found[t], [name])[name] for t in data]))


Tables = dict[str, np.ndarray]  # task -> scores of all candidates


def _timed(
    score: Callable[[Prompts], np.ndarray], data: dict[str, Prompts]
) -> tuple[float, Tables]:
    """Seconds for all tasks, and their scores."""
    start = time.perf_counter()
    found = {task: score(prompts) for task, prompts in data.items()}
    return time.perf_counter() - start, found


def _scores(
    case: str,
    data: dict[str, Prompts],
    ours: Callable[[Prompts], np.ndarray],
    peer: Callable[[Prompts], np.ndarray],
    repeats: int,
    note: str,
) -> dict:
    """Both sides of a case, whose scores must be equal."""
    kept: Tables = {}

    def accuracy(found: Tables) -> float:
        return metric(data, {t: table.argmax(1) for t, table in found.items()}, "accuracy")

    def first(_: int) -> tuple[float, float]:
        seconds, found = _timed(ours, data)
        kept.update(found)
        return seconds, accuracy(found)

    def second(_: int) -> tuple[float, float]:
        seconds, found = _timed(peer, data)
        for task, table in found.items():
            np.testing.assert_allclose(kept[task], table, atol=1e-4)
        return seconds, accuracy(found)

    return M.alternate(case, first, second, repeats, note)


def _answered(decoder: Decoder, data: Prompts) -> np.ndarray:
    return answers(decoder, data, {"precision": "float32", "scoring": "normalised"}, "cpu")


def scoring(case: str, decoder: Decoder, data: dict[str, Prompts], repeats: int) -> dict:
    """Length-normalised likelihoods of all candidates of SST-2's and COPA's validation sets."""
    counts = ", ".join(f"{len(d)} {t}" for t, d in data.items())
    note = f"float32, {counts}; against one forward per candidate"
    sides = (partial(side, decoder) for side in (_answered, _one_by_one))
    return _scores(case, data, *sides, repeats, note)


def in_context(case: str, decoder: Decoder, data: dict[str, Prompts], repeats: int) -> dict:
    """Scores of prompts behind demonstrations, whose keys and values are computed once or anew."""

    def anew(prompts: Prompts) -> np.ndarray:
        with patch.object(prefixes, "LEAST", LENGTH):  # no common beginning is long enough
            return _answered(decoder, prompts)

    shown = [n for d in data.values() for n in d.demonstrated]
    note = (
        f"float32, {len(shown)} examples behind {np.mean(shown):.0f} of {DEMONSTRATIONS} "
        "demonstrations on average; against no shared beginning"
    )
    return _scores(case, data, partial(_answered, decoder), anew, repeats, note)


@torch.inference_mode()
def _one_by_one(decoder: Decoder, data: Prompts) -> np.ndarray:
    out = np.zeros((len(data), len(data.answers[0])), np.float32)
    for row, (prompt, own) in enumerate(zip(data.prompts, data.answers, strict=True)):
        for c, tokens in enumerate(own):
            logits = decoder.model(torch.tensor([prompt + tokens])).logits
            each = logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            out[row, c] = each[range(len(tokens)), tokens].mean()
    return out


def generation(case: str, decoder: Decoder, data: dict[str, Prompts], repeats: int) -> dict:
    """Greedy answers to SQuAD's questions, ended at a newline."""
    (prompts,) = data.values()
    settings = {"precision": "float32", "max_new_tokens": NEW_TOKENS}
    stop = list(newline_ids(decoder.tokenizer))

    def ours(_: int) -> tuple[float, float]:
        start = time.perf_counter()
        found = answers(decoder, prompts, settings, "cpu")
        return time.perf_counter() - start, metric(data, dict.fromkeys(data, found), "answer_f1")

    def peer(_: int) -> tuple[float, float]:
        start = time.perf_counter()
        found = np.full((len(prompts), NEW_TOKENS), -1, np.int64)
        for row, prompt in enumerate(prompts.prompts):
            ids = torch.tensor([prompt])
            given = {"attention_mask": torch.ones_like(ids), "do_sample": False}
            out = decoder.model.generate(
                ids, **given, max_new_tokens=NEW_TOKENS, eos_token_id=stop, pad_token_id=stop[0]
            )[0, len(prompt) :].tolist()
            tokens = out[:-1] if out and out[-1] in stop else out
            found[row, : len(tokens)] = tokens
        return time.perf_counter() - start, metric(data, dict.fromkeys(data, found), "answer_f1")

    note = f"float32, {len(prompts)} SQuAD questions; against batch size 1 (transformers' generate)"
    return M.alternate(case, ours, peer, repeats, note)
