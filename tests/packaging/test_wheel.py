"""The wheel: its dependencies and files; installed, it does what README says of own data."""

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from safetensors.numpy import load_file, save_file
from support import sandbox, tiny

PROJECT = tomllib.loads((sandbox.ROOT / "pyproject.toml").read_text())["project"]
README = (sandbox.ROOT / "README.md").read_text()
MODEL, CSV = "sentence-transformers/all-MiniLM-L6-v2", "docs/examples/reviews.csv"
SOURCES = ("beft", "pyproject.toml", "README.md", "LICENSE")


def run(folder: Path, *command: str, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that the clone gets no build folder, by the setuptools that is here."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = sandbox.ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / "source" / name, ignore=ignored)
        else:
            shutil.copy(source, folder / "source")
    command = ("-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder))
    run(folder / "source", sys.executable, *command)
    (made,) = folder.glob("beft-*.whl")
    return made


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    package = sandbox.ROOT / "beft"
    files = {
        f"beft/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {Path(name).suffix for name in files} >= {".py", ".csv", ".css", ".js", ".j2", ".json"}
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert names == files
    assert len(licences) == 1


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel; of this environment it has the libraries alone."""
    folder = tmp_path_factory.mktemp("environment")
    run(folder, sys.executable, "-m", "venv", "--without-pip", str(folder))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(folder))
    run(folder, *pip, "install", "-q", "--no-index", "--no-deps", "--no-compile", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return folder


def test_the_package_is_that_of_the_wheel(installed, tmp_path):
    said = run(
        tmp_path, str(installed / "bin" / "python"), "-c", "import beft; print(beft.__file__)"
    )
    assert said.startswith(str(installed))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    """A mirror with the model of README: one layer of the real one where it is, else a tiny one."""
    folder = tmp_path_factory.mktemp("mirror")
    target, real = folder / "models" / MODEL, Path(os.environ.get("BEFT_MIRROR", "-"), "models")
    if not (real / MODEL).is_dir():
        return tiny.checkpoint("bert", target).parents[2]
    shutil.copytree(real / MODEL, target, copy_function=shutil.copyfile)
    config = json.loads((target / "config.json").read_text()) | {"num_hidden_layers": 1}
    (target / "config.json").write_text(json.dumps(config))
    weights = load_file(target / "model.safetensors")
    first = {n: w for n, w in weights.items() if not re.search(r"encoder\.layer\.[1-9]", n)}
    save_file(first, target / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def said(installed, mirror, tmp_path_factory) -> dict[str, list[str]]:
    """What README's commands for own data print, run word for word in a folder with its csv."""
    (section,) = re.findall(r"^## On your own data\n(.*?)^## ", README, flags=re.S | re.M)
    (block,) = re.findall(r"```bash\n(.*?)```", section, flags=re.S)
    place = tmp_path_factory.mktemp("anywhere")
    (place / CSV).parent.mkdir(parents=True)
    shutil.copyfile(sandbox.ROOT / CSV, place / CSV)
    variables = {
        **{"PATH": f"{installed / 'bin'}{os.pathsep}{os.defpath}", "HOME": str(place / "home")},
        **{"BEFT_MIRROR": str(mirror), "HF_HUB_OFFLINE": "1", "BEFT_MINUTES": "0.1"},
    }
    printed = {"place": [str(place)]}
    for command in block.splitlines():
        done = subprocess.run(
            command, shell=True, cwd=place, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        printed[" ".join(command.split()[:2])] = done.stdout.splitlines()
    return printed


def test_readme_tunes_on_a_file_anywhere(said):
    place, lines = Path(*said["place"]), said["beft tune"]
    assert len(lines) <= 20
    assert any(line.startswith("choice: ") for line in lines)
    assert any(line.startswith("test: accuracy ") for line in lines)
    assert {path.name for path in place.iterdir()} <= {
        "docs",
        "home",
        "reviews-adapter",
        "predicted.csv",
    }
    names = {path.name for path in (place / "reviews-adapter").iterdir()}
    sums = json.loads((place / "reviews-adapter" / "checksums.json").read_text())
    assert names == {*sums, "checksums.json"}
    assert names >= {"README.md", "example.py", "runs.csv", "split.csv", "report.html", "beft.json"}


def test_readme_predicts_each_row_in_order(said, mirror):
    place = Path(*said["place"])
    given, found = rows(place / CSV), rows(place / "predicted.csv")
    assert [{name: row[name] for name in given[0]} for row in found] == given
    assert {row["predicted"] for row in found} <= {"good", "bad"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in found)
    right = sum(row["predicted"] == row["verdict"] for row in found)
    assert any(
        f"accuracy {100 * right / len(found):.1f} %" in line for line in said["beft predict"]
    )
    if os.environ.get("BEFT_MIRROR"):  # the model has read English before
        guessing = max(Counter(row["verdict"] for row in found).values())
        assert right > guessing + 0.1 * len(found)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_base_dependencies_are_what_the_library_needs():
    found = set()
    for path in (sandbox.ROOT / "beft").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    imported = found - set(sys.stdlib_module_names) - {"beft"}
    owners = packages_distributions()
    needed = {plain(name) for module in imported for name in owners[module]}
    stated = {plain(re.match(r"[\w.-]+", line)[0]) for line in PROJECT["dependencies"]}
    # Tokenizers that are a sentencepiece model alone: transformers imports these two.
    assert needed | {"sentencepiece", "protobuf"} == stated


def plain(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
