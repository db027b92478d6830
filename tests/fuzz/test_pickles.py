"""Damaged files of pickled weights: converted or refused in a few words, and nothing else."""

import io
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import fuzzed

from beft.data.mirror import unpickle


def saved(zipped: bool) -> bytes:
    base, buffer = torch.arange(40.0).reshape(8, 5), io.BytesIO()
    half = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    given = OrderedDict(whole=base, part=base[2:], half=half)
    torch.save(given, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


FILES = (saved(True), saved(False))
# Where something happens, how many bytes go, and what comes instead.
EDITS = st.lists(st.tuples(st.integers(0), st.integers(0, 20), st.binary(max_size=8)), max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pickled")


@fuzzed
@given(file=st.sampled_from(FILES), edits=EDITS)
def test_a_damaged_file_is_converted_or_refused(folder, file, edits):
    content = bytearray(file)
    for place, gone, new in edits:
        at = place % (len(content) + 1)
        content[at : at + gone] = new
    (folder / "pytorch_model.bin").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            unpickle.convert(folder / "pytorch_model.bin", folder / "model.safetensors")
        except unpickle.RefusedError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
