"""The repositories that the paper's study names, as the hub lists them, with tiny contents.

Names and structure are those of the pinned revisions; models have the real architectures at tiny
width, and datasets a few rows.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
import torch
from datasets import ClassLabel, Features, List, Value
from support import tiny
from support.hub import Hub
from transformers import AutoModelForCausalLM, AutoModelForPreTraining

from beft.study import params as P

GATED = "meta-llama/Llama-2-7b-hf"
NOT_READ = b"of another library"
_BESIDE = ("flax_model.msgpack", "tf_model.h5")

# Id -> the tiny architecture, how its weights lie there, and what else does.
MODELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "google-bert/bert-base-cased": ("bert", "both", (*_BESIDE, "LICENSE")),
    "google-bert/bert-large-cased": ("bert", "both", _BESIDE),
    "FacebookAI/roberta-base": ("roberta", "both", ("tf_model.h5", "rust_model.ot", "dict.txt")),
    "facebook/opt-1.3b": ("opt", "pickle", (*_BESIDE, "LICENSE.md")),
    "facebook/opt-6.7b": (
        "opt",
        "pickles",
        ("flax_model-00001-of-00002.msgpack", "flax_model.msgpack.index.json", "LICENSE.md"),
    ),
    GATED: ("llama", "all", ("LICENSE.txt", "USE_POLICY.md")),
    "EleutherAI/gpt-j-6b": ("gptj", "pickle", (*_BESIDE, "added_tokens.json")),
    "deepseek-ai/deepseek-coder-1.3b-base": ("llama", "pickle", ("LICENSE",)),
}
ENCODERS = ("bert", "roberta")
LONG = {"opt": {"max_position_embeddings": 2048}, "gptj": {"n_positions": 2048}}  # as published


def _class(*names: str) -> ClassLabel:
    return ClassLabel(names=list(names))


_TWO = _class("entailment", "not_entailment")
_BOOLEAN = _class("False", "True")
_SPANS = {"text": List(Value("string")), "start": List(Value("int32")), "end": List(Value("int32"))}
_TYPES = ("types of spans",)
_TRAINED = ("train", "validation", "test")
_MNLI = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
# Id -> configuration -> splits, columns. A column is a text (0), one of a few, or of a type.
DATASETS: dict[str, dict[str, tuple[tuple[str, ...], dict[str, object]]]] = {
    "nyu-mll/glue": {
        "sst2": (_TRAINED, {"sentence": 0, "label": _class("negative", "positive")}),
        "rte": (_TRAINED, {"sentence1": 0, "sentence2": 0, "label": _TWO}),
        "qqp": (
            _TRAINED,
            {"question1": 0, "question2": 0, "label": _class("not_duplicate", "duplicate")},
        ),
        "qnli": (_TRAINED, {"question": 0, "sentence": 0, "label": _TWO}),
        "mnli": (
            _MNLI,
            {
                "premise": 0,
                "hypothesis": 0,
                "label": _class("entailment", "neutral", "contradiction"),
            },
        ),
        "cola": (_TRAINED, {"sentence": 0, "label": _class("unacceptable", "acceptable")}),
        "mrpc": (
            _TRAINED,
            {"sentence1": 0, "sentence2": 0, "label": _class("not_equivalent", "equivalent")},
        ),
        "stsb": (_TRAINED, {"sentence1": 0, "sentence2": 0, "label": Value("float32")}),
    },
    "aps/super_glue": {
        "cb": (
            _TRAINED,
            {
                "premise": 0,
                "hypothesis": 0,
                "label": _class("entailment", "contradiction", "neutral"),
            },
        ),
        "wic": (_TRAINED, {"word": 0, "sentence1": 0, "sentence2": 0, "label": _BOOLEAN}),
        "boolq": (_TRAINED, {"question": 0, "passage": 0, "label": _BOOLEAN}),
        "wsc.fixed": (
            _TRAINED,
            {
                "text": 0,
                "span1_index": Value("int32"),
                "span2_index": Value("int32"),
                "span1_text": 0,
                "span2_text": 0,
                "label": _BOOLEAN,
            },
        ),
        "multirc": (
            _TRAINED,
            {
                "paragraph": 0,
                "question": 0,
                "answer": 0,
                "idx": {k: Value("int32") for k in ("paragraph", "question", "answer")},
                "label": _BOOLEAN,
            },
        ),
        "copa": (
            _TRAINED,
            {
                "premise": 0,
                "choice1": 0,
                "choice2": 0,
                "question": ("cause", "effect"),
                "label": _class("choice1", "choice2"),
            },
        ),
        "record": (
            _TRAINED,
            {
                "passage": 0,
                "query": ("@placeholder was good",),
                "entities": List(Value("string")),
                "entity_spans": _SPANS,
                "answers": List(Value("string")),
                "idx": {k: Value("int32") for k in ("passage", "query")},
            },
        ),
    },
    "rajpurkar/squad": {
        "plain_text": (
            ("train", "validation"),
            {
                "context": 0,
                "question": 0,
                "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
            },
        )
    },
    "ucinlp/drop": {
        "default": (
            ("train", "validation"),
            {
                "passage": 0,
                "question": 0,
                "answers_spans": {"spans": List(Value("string")), "types": _TYPES},
            },
        )
    },
}
PARTS = {"nyu-mll/glue/mnli/train": 2}  # splits of more than one file
ROWS = 12


def fill(hub: Hub, params: P.Params) -> None:
    """Puts all repositories on a hub, at the revisions that params.yaml pins."""
    datasets.disable_progress_bars()
    for kind, entries in (("models", params.models), ("datasets", params.tasks)):
        for entry in entries.values():
            if entry.hub is not None and entry.revision is not None:
                hub.revisions[kind, entry.hub] = entry.revision
    for number, name in enumerate(MODELS):
        hub.repositories["models", name] = dict(_model(name, number))
    for name in DATASETS:
        hub.repositories["datasets", name] = dict(_dataset(name))
    hub.gated.add(GATED)


def _model(name: str, seed: int) -> Iterator[tuple[str, bytes]]:
    architecture, weights, beside = MODELS[name]
    yield "README.md", b"# A card\n"
    for other in beside:
        yield other, b"{}" if other.endswith(".json") else NOT_READ
    with TemporaryDirectory() as place:
        folder = Path(place)
        if architecture in ENCODERS:
            tiny.checkpoint(architecture, folder, auto=AutoModelForPreTraining, seed=seed)
            model = AutoModelForPreTraining.from_pretrained(folder)
        else:
            tiny.decoder_checkpoint(architecture, folder, seed=seed, **LONG.get(architecture, {}))
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
        half = max(1, sum(p.nbytes for p in model.parameters()) // 2)
        parts = f"{half / 1e3:.0f}KB" if weights in ("all", "pickles") else "1GB"
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size=parts)
        yield from _pickled(folder, model.state_dict(), weights)
        for path in sorted(folder.iterdir()):
            if path.name.startswith("model") and weights in ("pickle", "pickles"):
                continue
            yield path.name, path.read_bytes()


def _pickled(
    folder: Path, state: dict[str, torch.Tensor], weights: str
) -> Iterator[tuple[str, bytes]]:
    """The same weights as torch saves them, in one file or two; ties are in it."""
    if weights in ("both", "pickle"):
        yield "pytorch_model.bin", _saved(state)
        return
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    middle = len(state) // 2
    places = {key: names[i >= middle] for i, key in enumerate(state)}
    for name in names:
        yield name, _saved({key: state[key] for key, place in places.items() if place == name})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    yield "pytorch_model.bin.index.json", json.dumps(index).encode()


def _saved(state: Mapping[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def _dataset(name: str) -> Iterator[tuple[str, bytes]]:
    configs = DATASETS[name]
    card = ["---", "configs:"]
    for config, (splits, columns) in configs.items():
        folder = "data" if config == "default" else config
        card += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            card += [f"  - split: {split}", f"    path: {folder}/{split}-*"]
            parts = PARTS.get(f"{name}/{folder}/{split}", 1)
            for part in range(parts):
                path = f"{folder}/{split}-{part:05}-of-{parts:05}.parquet"
                yield path, _parquet(split, columns, part)
    yield "README.md", "\n".join([*card, "---", "# A card", ""]).encode()


def _parquet(split: str, columns: Mapping[str, object], part: int) -> bytes:
    rows = [{k: _value(kind, part * ROWS + i) for k, kind in columns.items()} for i in range(ROWS)]
    if "test" in split:
        rows = [row | ({"label": -1} if "label" in row else {}) for row in rows]
    features = Features({key: _feature(kind) for key, kind in columns.items()})
    table = datasets.Dataset.from_list(rows, features=features)
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def _feature(kind: object) -> object:
    if isinstance(kind, dict):
        return {name: _feature(part) for name, part in kind.items()}
    if kind == _TYPES:
        return List(Value("string"))
    return Value("string") if kind == 0 or isinstance(kind, tuple) else kind


def _value(kind: object, i: int) -> object:
    if isinstance(kind, dict):
        return {name: _value(part, i) for name, part in kind.items()}
    if kind == _TYPES:
        return ["span"]
    if isinstance(kind, tuple):
        return kind[i % len(kind)]
    if isinstance(kind, List):
        return [_value(kind.feature, i)]
    if isinstance(kind, ClassLabel):
        return i % kind.num_classes
    if isinstance(kind, Value) and kind.dtype != "string":
        return i % 5
    return f"{tiny.WORDS[i % len(tiny.WORDS)]} {tiny.WORDS[(i // 2 + 1) % len(tiny.WORDS)]}"
