"""Pretrains a demo decoder from nothing: `python -m beft.models.demo.pretrain opt --hours 0.7`.

Training follows the clock: it ends when the time is over, with the learning rate annealed. Each
checkpoint is whole, with its log in `training.json`, so an early end leaves a usable model.
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
)

from beft.code_identity import essence
from beft.models.demo.corpus import Document, corpus_digest, documents

HERE = Path(__file__).parent
PAD, BOS, EOS = SPECIAL = ("<pad>", "<s>", "</s>")
VOCABULARY, LENGTH, POSITIONS = 2048, 128, 512
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
}
CONFIGS = {
    "opt": OPTConfig(**_COMMON, ffn_dim=512, word_embed_proj_dim=128, dropout=0.0, init_std=0.04),
    "llama": LlamaConfig(
        **_COMMON, intermediate_size=384, num_key_value_heads=2, initializer_range=0.04
    ),
}
SETTINGS: dict[str, Any] = {
    "rows": 16,
    "length": LENGTH,
    "untaught_weight": 0.15,
    "matrices": {"optimiser": "Muon", "lr": 0.02, "momentum": 0.95, "weight_decay": 0.02},
    "others": {"optimiser": "AdamW", "lr": 2.5e-3, "betas": [0.9, 0.98], "weight_decay": 0.0},
    "final_rate": 0.02,
    "warmup": 0.02,
    "max_grad_norm": 1.0,
    "shifted": 0.3,
    "precision": "bfloat16 autocast",
}
CHECKPOINT_SECONDS = 300


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on the corpus: any text is encodable; a sequence begins with <s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    texts = (document.text for document in islice(documents("tokenizer"), 20000))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, SPECIAL.index(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=POSITIONS,
    )


Rows = Iterator[tuple[list[int], list[float]]]


def _encode(tokenizer, document: Document) -> tuple[list[int], list[float]]:
    """Tokens of `<s> document </s>`, and the weight of each in the loss."""
    ids, weights = [tokenizer.bos_token_id], [0.0]
    parts = tokenizer([*document.parts, EOS], add_special_tokens=False)["input_ids"]
    for number, part in enumerate(parts):
        taught = number % 2 == 1 and number < len(document.parts)
        ids += part
        weights += [1.0 if taught else SETTINGS["untaught_weight"]] * len(part)
    return ids, weights


def packed(tokenizer: PreTrainedTokenizerFast, seed: str, length: int) -> Rows:
    """Rows of whole documents, padded to `length`: tokens and their weights."""
    rows: list[tuple[list, list]] = [([], []) for _ in range(8)]  # those still open
    for document in documents(seed):
        ids, weights = (values[:length] for values in _encode(tokenizer, document))
        rows.sort(key=lambda row: len(row[0]), reverse=True)
        fitting = [row for row in rows if len(row[0]) + len(ids) <= length]
        if not fitting:
            full, left = rows[0], length - len(rows[0][0])
            yield full[0] + [tokenizer.pad_token_id] * left, full[1] + [0.0] * left
            rows[0] = ([], [])
            fitting = rows[:1]
        fitting[0][0].extend(ids)
        fitting[0][1].extend(weights)


def batch(rows: Rows, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and weights of the next rows, each (count, length)."""
    ids, weights = zip(*islice(rows, count), strict=True)
    return torch.tensor(ids), torch.tensor(weights)


def mean_loss(model, ids, weights, positions=None) -> torch.Tensor:
    """Weighted mean of each token's cross-entropy in nats; all arguments are (rows, length)."""
    given = {} if positions is None else {"position_ids": positions}
    logits = model(input_ids=ids, use_cache=False, **given).logits[:, :-1].float()
    each = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (each * weights).sum() / weights.sum()


@torch.no_grad()
def sample_losses(model, tokenizer, seed: str, rows: int = 128) -> dict[str, float]:
    """On fresh documents: the loss of all tokens, and of those that are taught."""
    ids, weights = batch(packed(tokenizer, seed, SETTINGS["length"]), rows)
    return {
        "loss": round(mean_loss(model, ids, (weights > 0).float()).item(), 4),
        "taught_loss": round(mean_loss(model, ids, (weights == 1).float()).item(), 4),
    }


def script_digest() -> str:
    """SHA-256 of this file without its comments."""
    return hashlib.sha256(essence(Path(__file__).read_text(encoding="utf-8")).encode()).hexdigest()


def save(folder: Path, model, tokenizer, log: dict) -> None:
    """Writes the model in bfloat16, its tokenizer, and training.json."""
    lowered = AutoModelForCausalLM.from_config(model.config, dtype=torch.bfloat16)
    lowered.load_state_dict(model.state_dict())
    lowered.generation_config = GenerationConfig.from_model_config(model.config)
    lowered.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    log |= sample_losses(exact, tokenizer, "held out")
    log["parameters"] = sum(p.numel() for p in model.parameters())
    log["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "training.json").write_text(json.dumps(log, indent=1) + "\n")


def _optimisers(model) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between embeddings and logits, AdamW for all others."""
    split: dict[bool, list] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        split[parameter.dim() == 2 and "embed" not in name].append(parameter)
    makers = {True: (torch.optim.Muon, "matrices"), False: (torch.optim.AdamW, "others")}
    optimisers = []
    for inner, (maker, key) in makers.items():
        options = {k: v for k, v in SETTINGS[key].items() if k != "optimiser"}
        optimisers.append(maker(split[inner], **options))
    return optimisers


def _share(done: float) -> float:
    """Of the learning rate: linear warm-up, then a cosine; `done` goes from 0 to 1."""
    warm, final = SETTINGS["warmup"], SETTINGS["final_rate"]
    if done < warm:
        return 0.01 + 0.99 * done / warm
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm) / (1 - warm))))
    return final + (1 - final) * fall


def _positions(rng: Random) -> torch.Tensor:
    """Positions of a row, (1, length): sometimes shifted, so that all of them are learnt."""
    shift = 0
    if rng.random() < SETTINGS["shifted"]:
        shift = int(rng.random() * (POSITIONS - LENGTH + 1))
    return torch.arange(shift, shift + LENGTH)[None]


def _step(model, optimisers, rows: Rows, rng: Random, share: float) -> tuple[float, int]:
    """One update; returns the loss and the number of tokens."""
    ids, weights = batch(rows, SETTINGS["rows"])
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_loss(model, ids, weights, torch.cat([_positions(rng) for _ in ids]))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS["max_grad_norm"])
    for optimiser, key in zip(optimisers, ("matrices", "others"), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = SETTINGS[key]["lr"] * share
        optimiser.step()
        optimiser.zero_grad()
    return loss.item(), int((ids != model.config.pad_token_id).sum())


def pretrain(kind: str, hours: float, folder: Path) -> None:
    """Trains for that long and leaves the model in the folder."""
    torch.manual_seed(0)
    tokenizer, rng = make_tokenizer(), Random("positions")
    model = AutoModelForCausalLM.from_config(CONFIGS[kind]).train()
    optimisers, rows = _optimisers(model), packed(tokenizer, "train", LENGTH)
    log: dict[str, Any] = {"script": script_digest(), "corpus": corpus_digest()}
    log |= {"settings": SETTINGS, "hours": hours, "steps": 0, "tokens": 0, "curve": []}
    start = saved = time.monotonic()
    recent: list[float] = []
    while (spent := time.monotonic() - start) < hours * 3600:
        share = _share(spent / (hours * 3600))
        loss, tokens = _step(model, optimisers, rows, rng, share)
        recent.append(loss)
        log["steps"] += 1
        log["tokens"] += tokens
        if len(recent) == 100:
            log["curve"].append([log["steps"], round(sum(recent) / len(recent), 4)])
            print(f"{spent:6.0f} s", *log["curve"][-1], log["tokens"], flush=True)
            recent = []
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save(folder, model, tokenizer, log)
            saved = time.monotonic()
    save(folder, model, tokenizer, log)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(CONFIGS))
    parser.add_argument("--hours", type=float, default=0.7)
    parser.add_argument("--folder", type=Path, help="default: beside this script")
    given = parser.parse_args()
    pretrain(given.kind, given.hours, given.folder or HERE / given.kind)


if __name__ == "__main__":
    main()
