"""Tiny checkpoints with random weights, one per architecture, built offline for the tests."""

import string
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

WIDTH, HEADS, INNER, LAYERS = 16, 2, 24, 2
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("the", "a", "an", "this", "that", "it", "is", "was", "not", "never", "very", "and", "but"),
    *("or", "so", "in", "on", "of", "to", "with", "without", "good", "bad", "great", "terrible"),
    *("dull", "fine", "film", "movie", "story", "plot", "actor", "man", "woman", "dog", "cat"),
    *("sees", "likes", "runs", "sleeps"),
)
_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
}
# No token types and positions that start after the padding's: as in RoBERTa and its kin.
_ROBERTA = _SIZES | {"type_vocab_size": 1, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_DEBERTA = _SIZES | {
    "relative_attention": True,
    "position_buckets": 8,
    "max_relative_positions": 64,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "pooler_hidden_size": WIDTH,
}
# Architecture -> its configuration class and arguments.
ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], dict]] = {
    "bert": (BertConfig, _SIZES),
    "roberta": (RobertaConfig, _ROBERTA),
    "xlm-roberta": (XLMRobertaConfig, _ROBERTA),
    "camembert": (CamembertConfig, _ROBERTA),
    "electra": (ElectraConfig, _SIZES | {"embedding_size": 8}),
    "distilbert": (
        DistilBertConfig,
        {"dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER},
    ),
    # v2 as published: own projections of positions; v3: those of the content are shared.
    "deberta-v2": (
        DebertaV2Config,
        _DEBERTA | {"share_att_key": False, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 2},
    ),
    "deberta-v2-c2p": (
        DebertaV2Config,
        _DEBERTA | {"share_att_key": False, "pos_att_type": ["c2p"]},
    ),
    "deberta-v3": (
        DebertaV2Config,
        _DEBERTA | {"share_att_key": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "mpnet": (MPNetConfig, _SIZES | {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}),
    "opt": (
        OPTConfig,
        {
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "ffn_dim": INNER,
            "word_embed_proj_dim": WIDTH,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
    ),
}


def tokenizer(
    words: Sequence[str] = WORDS, token_types: bool = False, pad: bool = True
) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer of `words`; anything else falls into single characters."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*SPECIAL, *characters, *(f"##{c}" for c in characters), *words]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]" if pad else None,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=names,
        model_max_length=512,
    )


def config(architecture: str, **changes: object) -> PreTrainedConfig:
    """The tiny configuration of an architecture of `ARCHITECTURES`."""
    kind, arguments = ARCHITECTURES[architecture]
    return kind(**{"vocab_size": len(tokenizer()), **arguments, **changes})


def randomize(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Fill a model with weights far enough from zero that every part of it matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.1, generator=generator)
    return model


def checkpoint(
    architecture: str,
    folder: Path,
    *,
    words: Sequence[str] = WORDS,
    auto: type = AutoModel,
    seed: int = 0,
    **changes: object,
) -> Path:
    """Write a checkpoint as a pretrained one looks: config.json, safetensors, tokenizer.

    Args:
        architecture: A key of `ARCHITECTURES`.
        folder: Where the files go; made if it is absent.
        words: Whole words of the vocabulary.
        auto: Which model of the architecture is saved; `AutoModel` is the bare encoder.
        seed: Of the weights.
        **changes: Settings of the configuration, such as `num_hidden_layers=1`.

    Returns:
        `folder`.
    """
    # Models whose embeddings know token types are those whose tokenizer gives them.
    types = getattr(config(architecture, **changes), "type_vocab_size", 0) > 1
    words_tokenizer = tokenizer(words, token_types=types)
    settings = config(architecture, **{"vocab_size": len(words_tokenizer), **changes})
    with torch.random.fork_rng(devices=[]):
        model = randomize(auto.from_config(settings, dtype=torch.float32), seed)
    model.save_pretrained(folder)
    words_tokenizer.save_pretrained(folder)
    return folder
