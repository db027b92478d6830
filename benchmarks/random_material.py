"""A model with random weights and sentences of random words: all sizes, nothing to fetch."""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from beft.models.loading import quiet_transformers
from benchmarks.material import LENGTH, TRAIN_EXAMPLES, Material

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY |= {"intermediate_size": 128, "vocab_size": 500}
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
ROBERTA |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}  # as `SPECIAL` has them
# BERT-base's shape is what both configurations start from.
CONFIGS = {"bert_base": {"model_type": "bert"}, "roberta_base": {"model_type": "roberta"} | ROBERTA}


@dataclass(frozen=True)
class Size:
    """How much there is: examples of each split, and changes to the base models' shapes."""

    train: int
    validation: int
    settings: dict


WHOLE = Size(TRAIN_EXAMPLES, 872, {})
SMALL = Size(32, 32, TINY)


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


def tiny() -> AbstractContextManager[Material]:
    """What benchmarks are tried on: a BERT of two narrow layers, 32 examples of each split."""
    return random_material("bert_base", SMALL)
