"""A small project of its own in a temporary folder: this repository's workflow, tiny inputs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from support import forked, tiny

from beft import code_identity
from beft.study.identity import sha256
from beft.study.recipe import RECIPE_VERSION

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = (
    *("Snakefile", "workflow", "profiles", "slurm", "Makefile"),
    *(".gitignore", ".dvc/.gitignore", ".dvc/config", ".dvc/plots", ".dvcignore", "dvc.yaml"),
)

PARAMS = {
    "study": "mini",
    "training": {
        "batch_size": 8,
        "max_length": 32,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "precision": "float32",
    },
    "models": {"tiny": {"path": "models/tiny"}},
    "techniques": {"full": {"learning_rate": 1e-3}, "untuned": {"batch_size": 8}},
    "tasks": {
        "demo_sentiment": {
            "demo": True,
            "regimes": {"low": 16, "medium": 32},
            "learning_rate": 1e-2,
            "epochs": 2,
        },
        "demo_similarity": {
            "demo": True,
            "regimes": {"low": 16, "medium": 32},
            "learning_rate": 1e-2,
            "epochs": 2,
        },
    },
}
STUDY = {
    "models": ["tiny"],
    "tasks": ["demo_sentiment"],
    "regimes": ["low"],
    "techniques": ["b_v", "b_q"],
    "seeds": [0],
    "fuse_techniques": True,
}


def make(
    folder: Path, params: dict | None = None, study: dict | None = None, package: bool = False
) -> Path:
    """A project: the workflow of this repository, a tiny model, params.yaml, studies/mini.yaml.

    With `package`, it has a copy of the library too, whose code is declared to be the one that
    gives its recipes' numbers; its commands use that copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if package:
        shutil.copytree(ROOT / "beft", folder / "beft")
        digest = code_identity.code_digest(folder / "beft")
        ledger = json.dumps({str(RECIPE_VERSION): [digest]})
        (folder / "beft" / "store" / "accepted_code.json").write_text(ledger)
    for name in WORKFLOW:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
    tiny.checkpoint("bert", folder / "models" / "tiny")
    write(folder / "params.yaml", params or PARAMS)
    write(folder / "studies" / "mini.yaml", study or STUDY)
    return folder


def write(path: Path, data: dict) -> None:
    """A YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def change(path: Path, *keys: str, to: object) -> None:
    """Sets one key of a YAML file."""
    data = yaml.safe_load(path.read_text())
    place = data
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = to
    write(path, data)


def reseal(run: Path, files: dict[str, dict]) -> None:
    """Writes JSON files of a run, and makes its checksums and those in its manifests fit."""
    for name, data in files.items():
        (run / name).write_text(json.dumps(data))
    sums = {name: sha256(run / name) for name in json.loads((run / "checksums.json").read_text())}
    (run / "checksums.json").write_text(json.dumps(sums))
    for manifest in run.parents[6].glob("packs/**/*.json"):
        listed = json.loads(manifest.read_text())
        for entry in listed["runs"]:
            if entry["digest"] == run.name:
                entry["checksums"] = sha256(run / "checksums.json")
        manifest.write_text(json.dumps(listed))


def environment(**extra: str) -> dict[str, str]:
    """The variables of a command: this interpreter's tools first, no network, no shared mirror."""
    kept = {k: v for k, v in os.environ.items() if k not in ("BEFT_MIRROR", "OMP_NUM_THREADS")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    # Proxies that refuse: whoever tries the network fails at once.
    nowhere = {f"{p}_proxy": "http://127.0.0.1:9" for p in ("http", "https", "all")}
    return {
        **kept,
        **nowhere,
        "PATH": path,
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
        "PYTHONHASHSEED": "0",
        **extra,
    }


def variables(folder: Path, **extra: str) -> dict[str, str]:
    """The variables of a command in a project: its own copy of the library, where it has one."""
    return environment(**({"PYTHONPATH": "."} if (folder / "beft").is_dir() else {}), **extra)


def warm(folder: Path, **extra: str) -> dict[str, str]:
    """The variables of a command that is called, and calls others, through the warm launcher."""
    found = variables(folder, **extra)
    return found | {"PATH": f"{forked.shims()}{os.pathsep}{found['PATH']}"}


def run(folder: Path, *command: str, check: bool = True, real: bool = False, **extra: str):
    """Runs a command in a project; its output is part of the failure when it fails.

    Args:
        real: Start a new interpreter, not a child of the launcher: where variables matter that are
            read by imports, or where the project's copy of the library was edited.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=(variables if real else warm)(folder, **extra),
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


def beft(folder: Path, *arguments: str, plant: tuple = (), **extra: str) -> forked.Done:
    """Calls a command of the library in a project.

    Args:
        plant: A function as "package.module.function", and its arguments; called in the process
            before the command.
    """
    command = ["beft", *arguments]
    return forked.Call(command, folder, variables(folder, **extra), plant).wait()


def snakemake(folder: Path, *arguments: str, check: bool = True, **extra: str):
    """Runs the workflow on one core."""
    return run(folder, "snakemake", "--cores", "1", *arguments, check=check, **extra)


def jobs(done: subprocess.CompletedProcess) -> list[tuple[str, str]]:
    """What snakemake ran, or would run: rule and outputs of every job, sorted."""
    said = done.stdout + done.stderr
    found = []
    for rule, lines in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", said, re.M):
        output = re.search(r"    output: (.*)", lines)
        found.append((rule, output.group(1) if output else ""))
    return sorted(found)


def trained(done: subprocess.CompletedProcess) -> list[str]:
    """The manifests of the packs that were, or would be, trained."""
    return [output for rule, output in jobs(done) if rule == "train"]


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with inode and time of change: equal marks, untouched files."""
    return {
        str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
