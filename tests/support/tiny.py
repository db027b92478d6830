"""Tiny checkpoints with random weights, one per architecture, built offline for the tests."""

import string
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    FalconConfig,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    MptConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
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
# In the second layer a token sees four others on either side. Positions turn all of a short text's
# queries and keys visibly, so that no key bias is inert.
_MODERN = _SIZES | {
    **{"global_rope_theta": 10.0, "local_rope_theta": 10.0},
    "global_attn_every_n_layers": 2,
    "local_attention": 8,
    "embedding_dropout": 0.1,
    "max_position_embeddings": 512,
    **{
        "pad_token_id": 0,
        "bos_token_id": 2,
        "cls_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
    },
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
    "modernbert": (ModernBertConfig, _MODERN),
    "modernbert-biases": (ModernBertConfig, _MODERN | {"attention_bias": True, "mlp_bias": True}),
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
# Query heads share keys and values in pairs.
_GROUPED = _SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2}
_GPT = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": INNER, "n_positions": 512}
_FALCON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "ffn_hidden_size": INNER,
    "alibi": True,
    "bias": True,
    "new_decoder_architecture": False,
    "multi_query": False,
    "parallel_attn": False,
}
# As `ARCHITECTURES`, for causal models; tokens 0 to 3 are those of `DECODER_SPECIAL`.
DECODERS: dict[str, tuple[type[PreTrainedConfig], dict]] = {
    "opt": ARCHITECTURES["opt"],
    "gpt2": (GPT2Config, _GPT),
    "gpt_neo": (
        GPTNeoConfig,
        {
            "hidden_size": WIDTH,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "intermediate_size": INNER,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 512,
        },
    ),
    "gptj": (GPTJConfig, _GPT | {"rotary_dim": 4}),
    "gpt_neox": (GPTNeoXConfig, _SIZES | {"max_position_embeddings": 512}),
    "gpt_neox-without": (GPTNeoXConfig, _SIZES | {"attention_bias": False}),
    "llama": (LlamaConfig, _GROUPED),
    "llama-biases": (LlamaConfig, _GROUPED | {"attention_bias": True, "mlp_bias": True}),
    "mistral": (MistralConfig, _GROUPED),
    "qwen2": (Qwen2Config, _GROUPED),
    # Heads whose widths do not add up to that of the layer.
    "qwen3": (Qwen3Config, _GROUPED | {"head_dim": 6}),
    "gemma": (GemmaConfig, _GROUPED | {"head_dim": 6}),
    "gemma2": (Gemma2Config, _GROUPED | {"head_dim": 6}),
    "phi": (PhiConfig, _GROUPED | {"partial_rotary_factor": 0.5}),
    "phi3": (Phi3Config, _GROUPED),
    "bloom": (BloomConfig, {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS}),
    "falcon": (FalconConfig, _FALCON),
    "falcon-one-key": (FalconConfig, _FALCON | {"multi_query": True}),
    "falcon-grouped": (
        FalconConfig,
        _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "parallel_attn": True},
    ),
    "gpt_bigcode": (GPTBigCodeConfig, _GPT | {"multi_query": True}),
    "gpt_bigcode-heads": (GPTBigCodeConfig, _GPT | {"multi_query": False}),
    "mpt": (
        MptConfig,
        {"d_model": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": 512},
    ),
}
DECODER_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
# What prompts and answers are made of, as they stand in a text: each one is one token.
PROMPT_WORDS = (
    *("It", "Question", "Answer", "True", "False", "or"),
    *("yes", "no", "true", "false", "because", "so", "who", "what", "where", "The", "I"),
)


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


def decoder_tokenizer(
    words: Sequence[str] = WORDS, bos: bool = True, pad: bool = True
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, as GPT-2's: a word and the space before it are one token.

    Any text comes back as it was from its tokens, line ends too.

    Args:
        words: Whole words of the vocabulary, beside those of `PROMPT_WORDS`.
        bos: Whether a text begins with <s>.
        pad: Whether a padding token is named.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,  # more than the merges of all words: each becomes one token
        special_tokens=list(DECODER_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([f" {word}" for word in (*words, *PROMPT_WORDS)], trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", DECODER_SPECIAL.index("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>" if pad else None,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=512,
    )


def decoder_config(architecture: str, **changes: object) -> PreTrainedConfig:
    """The tiny configuration of an architecture of `DECODERS`."""
    kind, arguments = DECODERS[architecture]
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    return kind(**{"vocab_size": len(decoder_tokenizer()), **special, **arguments, **changes})


def decoder_checkpoint(
    architecture: str,
    folder: Path,
    *,
    words: Sequence[str] = WORDS,
    bos: bool = True,
    pad: bool = True,
    seed: int = 0,
    **changes: object,
) -> Path:
    """Write a causal language model as a pretrained one looks, weights and biases random.

    Args:
        architecture: A key of `DECODERS`.
        folder: Where the files go; made if it is absent.
        words: Whole words of the vocabulary, beside those of `PROMPT_WORDS`.
        bos: Whether the tokenizer begins a text with <s>.
        pad: Whether the tokenizer names a padding token.
        seed: Of the weights.
        **changes: Settings of the configuration, such as `num_hidden_layers=1`.

    Returns:
        `folder`.
    """
    words_tokenizer = decoder_tokenizer(words, bos, pad)
    changes = {"vocab_size": len(words_tokenizer), **changes}
    settings = decoder_config(architecture, **changes)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    randomize(model, seed).save_pretrained(folder)
    words_tokenizer.save_pretrained(folder)
    return folder
