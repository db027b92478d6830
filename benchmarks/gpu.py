"""Bias-only training of base-sized encoders on one GPU: our packs against Trainer with PEFT.

`python -m benchmarks.gpu [--device cuda] [--small]`. Nothing is fetched: the models have the
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

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast, PrinterCallback

from beft.data.encoded import Encoded
from beft.models.encoder import load_encoder
from beft.models.loading import quiet_transformers
from beft.training.provenance import peak_memory_mb, reset_peak_memory
from benchmarks import ours, peers
from benchmarks.material import EPOCHS, LENGTH, TRAIN_EXAMPLES, Material, recipe

PACKS = (1, 4, 16, 32)  # runs per pack
FEW = 64  # examples to warm up with
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY |= {"intermediate_size": 128, "vocab_size": 500}
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
ROBERTA |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}  # as `SPECIAL` has them
# BERT-base's shape is what both configurations start from.
CONFIGS = {"bert_base": {"model_type": "bert"}, "roberta_base": {"model_type": "roberta"} | ROBERTA}
FIGURES = ("ours_seconds", "peer_seconds", "ratio", "runs_per_hour", "peer_runs_per_hour")
FIGURES += ("peak_memory_mb", "peer_peak_memory_mb", "matrix_share")


@dataclass(frozen=True)
class Size:
    """How much is measured: examples, changes to the base models, repeats, width of a product."""

    train: int
    validation: int
    settings: dict
    repeats: int
    matrix: int


WHOLE = Size(TRAIN_EXAMPLES, 872, {}, 3, 8192)
SMALL = Size(32, 32, TINY, 1, 256)


def measure(device: str, small: bool) -> list[dict]:
    """A row for each model and number of runs per pack.

    Args:
        device: `cuda`, or `cpu` to try this program where there is no GPU.
        small: two narrow layers and few examples, to the same end.

    Returns:
        Rows with `case`, `repeats`, `note` and `FIGURES`; these are None, and the note says
        "not measured", when a GPU was asked for and none is there. `peer_seconds` is of all runs
        of the pack. `matrix_share` is the rate at which our side takes real tokens through the
        linear layers, as a share of that of a big product; work that is spared counts as done.
    """
    if device != "cpu" and not torch.cuda.is_available():
        empty = dict.fromkeys(FIGURES) | {"repeats": 0, "note": "not measured"}
        return [{"case": f"gpu_{name}_{runs}", **empty} for name in CONFIGS for runs in PACKS]
    size = SMALL if small else WHOLE
    rate = matrix_rate(device, size.matrix)
    rows = []
    for name in CONFIGS:
        with random_material(name, size) as material:
            packs = {runs: _ours(material, runs, device, size.repeats) for runs in PACKS}
            peer = _peer(material, device, size.repeats)
            work = flops(material)
        for runs, own in packs.items():
            found = _figures(runs, own, peer, runs * work / rate)
            facts = {"repeats": size.repeats, "note": ""}
            rows.append({"case": f"gpu_{name}_{runs}", **found, **facts})
    return rows


def _figures(runs: int, own: tuple, peer: tuple, fastest: float) -> dict[str, float]:
    ours_seconds, peer_seconds = own[0], runs * peer[0]
    rates = (runs * 3600 / ours_seconds, runs * 3600 / peer_seconds)
    times = (ours_seconds, peer_seconds, peer_seconds / ours_seconds)
    return dict(
        zip(FIGURES, (*times, *rates, own[1], peer[1], fastest / ours_seconds), strict=True)
    )


def lengths(count: int, mean: float, sigma: float, seed: int) -> np.ndarray:
    """Tokens of each text, special ones included: log-normal, from 4 to `LENGTH`."""
    drawn = np.random.default_rng(seed).lognormal(np.log(mean) - sigma**2 / 2, sigma, count)
    return drawn.round().clip(4, LENGTH).astype(int)


def texts(sizes: np.ndarray, words: int, seed: int) -> pa.Table:
    """As many random words as give these numbers of tokens, with random labels."""
    draw = np.random.default_rng(seed)
    drawn = [draw.integers(words, size=n - 2) for n in sizes]
    sentences = [" ".join(f"w{word}" for word in text) for text in drawn]
    return pa.table({"sentence": sentences, "label": draw.integers(2, size=len(sizes))})


@contextmanager
def random_material(name: str, size: Size) -> Iterator[Material]:
    """A model of this shape, written to a folder that is gone afterwards, and texts for it."""
    config = AutoConfig.for_model(**CONFIGS[name] | size.settings)
    words = config.vocab_size - len(SPECIAL)
    train = texts(lengths(size.train, 13, 0.65, 0), words, 1)
    validation = texts(lengths(size.validation, 25, 0.45, 2), words, 3)
    task = {"text": ["sentence"], "label": "label", "labels": ["0", "1"]}
    task |= {"name": "sst2", "metric": "accuracy", "validation": ["validation"]}
    with tempfile.TemporaryDirectory() as folder:
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.manual_seed(0)
            AutoModel.from_config(config, dtype=torch.float32).save_pretrained(folder)
        _tokenizer(words, config.type_vocab_size > 1).save_pretrained(folder)
        yield Material(name, Path(folder), train, validation, task)


def _tokenizer(words: int, types: bool) -> PreTrainedTokenizerFast:
    """One token for each word w0, w1, ...; with numbers of segments, or without."""
    tokens = [*SPECIAL, *(f"w{i}" for i in range(words))]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    special = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    inputs = ["input_ids", *["token_type_ids"] * types, "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=inputs, model_max_length=512, **special
    )


def flops(material: Material) -> float:
    """Of one run in the linear layers of the encoder, for real tokens alone.

    Training goes forward, and backward through activations but not to weights: two passes.
    """
    encoder = material.encoder()
    layers = encoder.model.base_model.encoder.modules()
    weights = sum(m.weight.numel() for m in layers if isinstance(m, torch.nn.Linear))
    train, validation = (sum(map(len, e.ids)) for e in material.encoded(encoder.tokenizer))
    return 2.0 * weights * EPOCHS * (2 * train + validation)


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


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the program")
    wish = parser.parse_args()
    # Trainer takes every GPU that it sees, with a larger batch; and a GPU where the CPU was meant.
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ["CUDA_VISIBLE_DEVICES"] = shown if wish.device == "cuda" else ""
    rows = measure(wish.device, wish.small)
    if rows[0]["note"]:
        print("No CUDA GPU is at hand: the table says 'not measured'.")
        return
    print(*(f"{name:>19}" for name in ("case", *FIGURES)))
    for row in rows:
        print(f"{row['case']:>19}", *(f"{row[name]:>19.4g}" for name in FIGURES))


if __name__ == "__main__":
    main()
