"""Every benchmark can be imported, and every part runs in its smallest form."""

import importlib
import pkgutil

import pytest
from support import sandbox

import benchmarks
from benchmarks import measure
from benchmarks.__main__ import PARTS, main

# A case of each part; `pipeline` is a process for each command, so it is the slow one.
CASES = {
    **{"engine": "sweep_4x4", "packs": "pack_2", "decoder": "decoder_generation"},
    **{
        "pipeline": "verify_10",
        "cluster": "execution",
        "gpu": "gpu_bert",
        "memory": "tiny",
    },
}


def test_every_module_can_be_imported():
    for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
        importlib.import_module(module.name)


@pytest.mark.parametrize("part", PARTS)
def test_part_runs_in_its_smallest_form_and_writes_no_results(part, monkeypatch, capsys):
    results = sandbox.ROOT / "benchmarks" / "results"
    before = sandbox.marks(results)
    monkeypatch.setattr(measure, "RESULTS", results)  # and so it is again afterwards
    monkeypatch.setenv("COLUMNS", "200")
    assert main([part, "--smoke"]) == 0
    said = capsys.readouterr().out
    assert CASES[part] in said and "not measured" not in said
    assert sandbox.marks(results) == before


def test_unknown_parts_are_named(capsys):
    with pytest.raises(SystemExit) as end:
        main(["engines"])
    assert end.value.code == 2
    assert "engines" in capsys.readouterr().err
