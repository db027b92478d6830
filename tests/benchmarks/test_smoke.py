"""Every benchmark can be imported, and every part runs in its smallest form."""

import importlib
import json
import pkgutil
import shutil
from importlib.util import find_spec

import pytest
from support import sandbox

import benchmarks
from benchmarks import measure, page
from benchmarks.__main__ import PARTS, main

# A case of each part; `pipeline` is a process for each command, so it is the slow one.
ON_THE_PAGE = {
    "engine": "sweep_4x4_two_at_a_time",
    "packs": "pack_2",
    "steps": "steps_peer",
    "few": "probe_mean_32",
    "own": "probe",
    "decoder": "decoder_generation",
    "pipeline": "verify_10",
}
OTHERS = {"cluster": "execution", "gpu": "gpu_bert", "memory": "tiny"}


@pytest.fixture(autouse=True)
def wide_and_undone(monkeypatch):
    """The command sets where results go; afterwards that is as before."""
    monkeypatch.setattr(measure, "RESULTS", measure.ON_FILE)
    monkeypatch.setenv("COLUMNS", "200")


def test_every_module_can_be_imported():
    for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
        importlib.import_module(module.name)


def test_a_case_of_each_part_is_named():
    assert {**ON_THE_PAGE, **OTHERS}.keys() == PARTS.keys()


@pytest.mark.parametrize("part", OTHERS)
def test_part_runs_in_its_smallest_form_and_keeps_no_results(part, capsys):
    before = sandbox.marks(measure.ON_FILE)
    assert main([part, "--smoke"]) == 0
    said = capsys.readouterr().out
    assert OTHERS[part] in said and "not measured" not in said
    assert sandbox.marks(measure.ON_FILE) == before


def test_results_of_the_smallest_forms_fill_the_page(tmp_path, capsys):
    """All parts but those on a GPU and on a cluster, whose results on file are taken."""
    for name in ("gpu.json", "memory_gpu.json", "cluster.json"):
        shutil.copy(measure.ON_FILE / name, tmp_path)
    before = sandbox.marks(measure.ON_FILE)
    assert main([*ON_THE_PAGE, "--smoke", "--to", str(tmp_path)]) == 0
    said, written = capsys.readouterr().out, page.page()
    for part, case in ON_THE_PAGE.items():
        assert case in said and case.removeprefix("pack_") in written
        results = json.loads((tmp_path / f"{part}.json").read_text())
        assert {"commit", "hardware", "seconds", "idle_cores"} <= results.keys()
    assert page.LACKING not in written
    assert "not measured: setfit" not in said or not find_spec("setfit")
    assert sandbox.marks(measure.ON_FILE) == before


def test_unknown_parts_are_named(capsys):
    with pytest.raises(SystemExit) as end:
        main(["engines"])
    assert end.value.code == 2
    assert "engines" in capsys.readouterr().err
