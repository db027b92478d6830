"""Every mistake of a user: exit status 2, one line that says what to do, nothing left behind."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from support import forked, planted, sandbox
from support.mistakes import inputs, machine, settings
from support.planted import Case, Place

from beft import code_identity
from beft.store import accepted_code
from beft.store.files import CHECKSUMS, to_json
from beft.study.identity import sha256

CASES = [*settings.CASES, *inputs.CASES, *machine.CASES]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A finished project, never touched again."""
    with pytest.MonkeyPatch.context() as patch:
        return planted.finished(tmp_path_factory.mktemp("template") / "project", patch)


@pytest.fixture
def place(template, tmp_path, monkeypatch):
    place = Place(Path(shutil.copytree(template, tmp_path / "project")), monkeypatch)
    yield place
    for process in place.processes:
        process.kill()
        process.communicate()


def filled(place: Place, command: str) -> list[str]:
    """The command with the files of the study, where it names some."""
    kinds = {"subset": "subsets", "pack": "packs", "scores": "cells"}
    return [
        place.path(kinds[word[1:-1]]) if word[1:-1] in kinds else word for word in command.split()
    ]


def the_line(stderr: str) -> str:
    """The one line that is for the user; the others may only be progress, with a time of day."""
    lines = stderr.splitlines()
    ours = [line for line in lines if line.startswith("beft: ")]
    rest = [line for line in lines if not line.startswith("beft: ")]
    assert len(ours) == 1 and all(re.match(r"\d\d:\d\d:\d\d ", line) for line in rest), stderr
    return ours[0]


def ids(cases: list[Case]) -> list[str]:
    return [re.sub(r"[^A-Za-z0-9_.,=-]+", " ", case.name)[:60].strip() for case in cases]


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_mistakes(place, capsys, case):
    case.plant(place)
    command = filled(place, case.command)
    capsys.readouterr()
    before = place.tree()
    assert place.beft(*command) == 2
    line = the_line(capsys.readouterr().err)
    pid = str(place.processes[0].pid) if place.processes else ""
    for word in case.words:
        assert word.replace("{pid}", pid) in line
    place.patch.undo()
    assert place.tree() == before


@pytest.mark.parametrize(
    ("case", "variables"),
    [
        (settings.MISSPELT[0], {}),
        (inputs.DATA[3], {}),
        # Proxies that refuse, as on a compute node: the first question to the hub is the last.
        (inputs.MIRROR[1], {"HF_HUB_OFFLINE": "0"}),
        (inputs.MIRROR[1], {"HF_HUB_OFFLINE": "1"}),
    ],
    ids=["setting", "data", "refusing proxy", "offline"],
)
def test_mistakes_in_a_process_of_its_own(place, case, variables):
    case.plant(place)
    before = place.tree()
    shared = {"BEFT_MIRROR": str(place.folder / "shared"), **variables}
    done = sandbox.run(
        place.folder, "beft", *case.command.split(), check=False, real=True, **shared
    )
    assert done.returncode == 2
    line = the_line(done.stderr)
    assert all(word in line for word in case.words)
    assert place.tree() == before


def reseal(folder: Path) -> None:
    """Writes the checksums of a run anew, so that the run looks sound on its own."""
    names = json.loads((folder / CHECKSUMS).read_text())
    (folder / CHECKSUMS).write_bytes(to_json({name: sha256(folder / name) for name in names}))


def sealed(plant: planted.Plant) -> planted.Plant:
    return planted.then(plant, lambda place: reseal(place.run("all_biases")))


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (machine.flip("biases.safetensors"), "biases.safetensors is damaged"),
        (machine.of_another_model, "biases.safetensors is damaged"),
        # Only the pack's manifest still knows what the run was.
        (sealed(machine.of_another_model), "not the run that"),
        (machine.of_another_run, "recipe.json is not the recipe"),
        (lambda place: shutil.rmtree(place.run("untuned")), "missing"),
    ],
    ids=["damaged", "another model", "another model, resealed", "another run", "lost"],
)
def test_verify_notices_what_happened_to_a_run(place, capsys, plant, words):
    # The code is not what is verified here, and may be in the middle of a change.
    place.patch.setattr(accepted_code, "accepted", lambda: [code_identity.code_digest()])
    plant(place)
    before = place.tree()
    assert place.beft("verify") == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("beft: ") for line in lines)
    assert any(words in line and "data/runs/tiny/mine/low/" in line for line in lines)
    assert "problems in study 'mini'" in lines[-1]
    assert place.tree() == before


@pytest.fixture(scope="module")
def workflow(tmp_path_factory) -> Path:
    """A project in which snakemake has not run yet."""
    folder = tmp_path_factory.mktemp("workflow") / "project"
    sandbox.make(folder, planted.PARAMS, planted.STUDY)
    planted.dataset(folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config", "training={batch_size: 2}"), ("--config training", "'study'", "params.yaml")),
        (("--config", "study=mimi"), ("'mimi'", "'mini'")),
    ],
    ids=["setting", "study"],
)
def test_snakemake_refuses_what_no_file_would_record(workflow, arguments, words):
    done = sandbox.snakemake(workflow, "-n", *arguments, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("beft: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words)
    assert "Traceback" not in done.stdout + done.stderr
    assert not (workflow / "data").exists()


def test_a_second_snakemake_in_a_folder_is_refused_and_harms_nothing(workflow, tmp_path):
    """The first one is held up in its first job until the second one has ended."""
    shim = tmp_path / "beft"
    shim.write_text(
        f"#!/bin/sh\ntouch {tmp_path}/started\n"
        f'while [ ! -e {tmp_path}/go ]; do sleep 0.05; done\nexec {forked.shims()}/beft "$@"\n'
    )
    shim.chmod(0o755)
    variables = sandbox.warm(workflow)
    variables["PATH"] = f"{tmp_path}{os.pathsep}{variables['PATH']}"
    command = ["snakemake", "--cores", "1", "data"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.Popen(command, cwd=workflow, env=variables, **pipes)
    try:
        while not (tmp_path / "started").exists():
            assert first.poll() is None, first.stdout.read()
            time.sleep(0.05)
        second = sandbox.snakemake(workflow, "data", check=False)
    finally:
        (tmp_path / "go").touch()
        said = first.communicate()[0]
    assert second.returncode != 0
    assert "locked" in second.stderr and "Traceback" not in second.stderr
    assert first.returncode == 0, said
    with pytest.MonkeyPatch.context() as patch:
        project = Place(workflow, patch).project()
    assert all((workflow / "data" / "subsets" / path).is_file() for path in project.subsets)
