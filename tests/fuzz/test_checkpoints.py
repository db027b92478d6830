"""Checkpoints that somebody has damaged or forged: one line, or they work; never anything else."""

import json
import resource
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny
from support.fuzzing import fuzzed

from beft.engine.usable import check_usable
from beft.errors import UserError
from beft.models.pretrained import check_checkpoint
from beft.study import params as P

SECONDS, MEGABYTES = 20, 4000  # of computing: far more than an input takes, far less than harm
KINDS = {"bert": "encoder", "deberta-v3": "encoder", "opt": "decoder", "llama": "decoder"}
KINDS |= {"gpt2": "decoder", "gpt_neo": "decoder", "mpt": "decoder"}
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**31,
    10**9,
    10**12,
    2**63,
    10**30,
    0.5,
    -0.5,
    1.5,
    1e-45,
    1e308,
)
ODD = (None, True, False, "", "nope", "gelu", "eager", "bert", "t5", [], [1], [[["global"], 9**9]])
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(ODD),
    st.sampled_from((float("nan"), float("inf"), {}, {"a": 1}, {"__float__": "NaN"}, [0] * 999)),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
# Keys that no tiny configuration has, but that transformers knows.
KEYS = (
    *("auto_map", "quantization_config", "transformers_weights", "configuration_files"),
    *("attention_types", "layer_types", "num_labels", "id2label", "label2id", "problem_type"),
    *("pruned_heads", "dtype", "torch_dtype", "attn_implementation", "experts_implementation"),
    *("is_decoder", "is_encoder_decoder", "add_cross_attention", "chunk_size_feed_forward"),
    *("rope_scaling", "rope_parameters", "rope_theta", "sliding_window", "tokenizer_class"),
    *("num_local_experts", "head_dim", "fusion_config", "name_or_path", "_name_or_path"),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for name, kind in KINDS.items():
        make = tiny.checkpoint if kind == "encoder" else tiny.decoder_checkpoint
        made[name] = make(name, tmp_path_factory.mktemp("tiny") / name)
    return made


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def survives(act) -> None:
    """Calls `act`, which has to return or to raise a UserError of one line, soon and in memory."""
    start = time.process_time()
    try:
        act()
    except UserError as error:
        # An architecture that is not recognised is shown with the lines that would declare it.
        assert "\n" not in str(error) or "declare its sites" in str(error)
        assert len(str(error)) < 2000
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 < MEGABYTES


@st.composite
def changes(draw) -> tuple[str, dict[str, object]]:
    """An architecture, and values for some keys of its configuration."""
    name = draw(st.sampled_from(sorted(KINDS)))
    kind = tiny.config if KINDS[name] == "encoder" else tiny.decoder_config
    keys = st.sampled_from((*sorted(kind(name).to_dict()), *KEYS))
    return name, draw(st.dictionaries(keys, VALUES, min_size=1, max_size=3))


@fuzzed
@given(changes())
def test_a_forged_configuration_is_one_line_or_works(folders, scratch, given):
    name, values = given
    folder = scratch / name
    if not folder.exists():
        shutil.copytree(folders[name], folder)
    content = json.loads((folders[name] / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(content))
    model = P.Model(path="here", kind=KINDS[name])
    survives(lambda: check_usable(folder, "models.m", model))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@fuzzed
@given(st.one_of(JSON.map(json.dumps).map(str.encode), st.binary(max_size=200)), st.booleans())
def test_any_json_file_is_one_line_or_works(folders, scratch, content, index):
    folder = scratch / f"json-{index}"
    if not folder.exists():
        shutil.copytree(folders["bert"], folder)
    if index:
        (folder / "model.safetensors").unlink(missing_ok=True)
        (folder / "model.safetensors.index.json").write_bytes(content)
    else:
        (folder / "config.json").write_bytes(content)
    survives(lambda: check_checkpoint(folder, "models.m"))


TYPES = ("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", "")
SIZES = st.sampled_from((0, 1, 2, 3, 16, 2**31, 2**63, -1, 10**30)) | st.integers()
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(TYPES),
        "shape": st.lists(SIZES, max_size=4),
        "data_offsets": st.lists(SIZES, max_size=3),
        "other": JSON,
    },
)


@st.composite
def headers(draw) -> tuple[dict[str, object], int, bytes]:
    """Changes of tensors, a wrong length (0: the right one), and bytes behind the file."""
    number = st.integers(0, 40)
    tensors = draw(st.dictionaries(number, TENSOR | JSON, max_size=3))
    more = draw(st.dictionaries(st.text(max_size=8), TENSOR, max_size=2))
    length = draw(st.sampled_from((0, 0, 0, 1, 2**20, 2**40, 2**63, 2**64 - 1)))
    return {**{str(k): v for k, v in tensors.items()}, **more}, length, draw(st.binary(max_size=9))


@fuzzed
@given(headers())
def test_a_forged_header_of_weights_is_one_line_or_works(folders, scratch, given):
    changed, length, tail = given
    folder = scratch / "weights"
    if not folder.exists():
        shutil.copytree(folders["bert"], folder)
    whole = (folders["bert"] / "model.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    names = sorted(header)
    for key, value in changed.items():
        name = names[int(key) % len(names)] if key.isdecimal() else key
        old = header.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        header[name] = {**old, **value} if both else value
    text = json.dumps(header).encode()
    forged = (length or len(text)).to_bytes(8, "little") + text + whole[8 + size :] + tail
    (folder / "model.safetensors").write_bytes(forged)
    survives(lambda: check_usable(folder, "models.m", P.Model(path="here")))
