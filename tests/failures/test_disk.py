"""A disk that is full, over quota or read-only: one clear line, nothing corrupt, and on it goes."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import disks, sandbox
from support.whole import commands, differences, made

from beft.store.run_folder import open_run
from beft.study import identity
from beft.study.project import load


def check_whole(folder: Path) -> None:
    """What has its final name is whole, and nothing half-written lies about."""
    project = load(folder / "params.yaml")
    assert {open_run(project.layout, r).flaw for r in project.recipes} <= {None, "missing"}
    assert not list(folder.rglob(".*.tmp"))
    assert all(path.stat().st_size for path in folder.rglob("data/**/*") if path.name != "lock")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory) -> Path:
    """A project that was finished undisturbed."""
    folder = made(tmp_path_factory.mktemp("quiet") / "project")
    for command in commands(folder):
        done = sandbox.beft(folder, *command)
        assert done.status == 0, done.said
    return folder


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A project on a disk of its own of 8 MB."""
    folder = tmp_path / "project"
    folder.mkdir()
    if not disks.mounted(folder, "8m"):
        pytest.skip("no file system can be mounted here: not root, or in a container")
    try:
        yield made(folder)
    finally:
        disks.writable(folder)


def names(line: str, folder: Path) -> str:
    """What kind of file a line names, which lies in the project."""
    place = line.split("beft: ")[1].split(": cannot be written")[0]
    parts = Path(place.removeprefix(f"{folder}/")).parts
    return parts[-1] if parts[0] == "reports" or parts[1] == "work" else parts[1]


def test_a_full_disk(quiet, small_disk):
    """Every command meets a disk that is full from its first file on, its second one, and so on."""
    filler, named = small_disk / "filler", set()
    for command in commands(small_disk):
        for number in range(1, 30):
            plant = ("support.disks.fill_at", number, str(filler), 4096 * (number % 3 == 0))
            done = sandbox.beft(small_disk, *command, plant=plant)
            filler.unlink(missing_ok=True)
            if done.status == 0:
                break
            assert done.status == 2, done.said
            assert "No space left on device" in done.line()
            named.add(names(done.line(), small_disk))
            check_whole(small_disk)
        assert number > 1 and done.status == 0, done.said
    assert named >= {
        *("sources", "models", "subsets", "checkpoint.safetensors", "runs", "packs", "scores"),
        *("runs.csv", "settings.json", "collected", "selection.csv", "metrics.json"),
        *("layers.svg", "layers.pdf", "index.html"),
    }
    assert differences(small_disk, quiet) == []


def test_a_read_only_folder(quiet, small_disk):
    """Read-only from the start of every command, and for `train` also from the middle on."""
    for command in commands(small_disk):
        disks.read_only(small_disk)
        done = sandbox.beft(small_disk, *command)
        disks.writable(small_disk)
        assert done.status == 2 and "Read-only file system" in done.line()
        assert re.search(r"(data|reports)/\S+: cannot be written", done.line())
        check_whole(small_disk)
        if command[0] == "train":
            plant = ("support.disks.read_only_at", 3, str(small_disk))
            done = sandbox.beft(small_disk, *command, plant=plant)
            disks.writable(small_disk)
            assert done.status == 2 and "Read-only file system" in done.line()
        done = sandbox.beft(small_disk, *command)
        assert done.status == 0, done.said
    check_whole(small_disk)
    assert differences(small_disk, quiet) == []


@pytest.mark.parametrize("size", [1000, 30000])
def test_a_used_up_quota(quiet, tmp_path, size):
    """No file may grow beyond a size, which some of the files of every command do."""
    folder, refused = made(tmp_path / "project"), 0
    for command in commands(folder):
        done = sandbox.beft(folder, *command, plant=("support.disks.largest_file", size))
        check_whole(folder)
        if done.status != 0:
            refused += 1
            assert done.status == 2 and "File too large" in done.line()
            done = sandbox.beft(folder, *command)
            assert done.status == 0, done.said
    assert refused > 2
    assert differences(folder, quiet) == []


def test_a_full_disk_while_a_model_is_fetched(small_disk):
    """3 MB into the mirror, where there is room for less."""
    site = small_disk.parent / "site"
    shutil.copytree(small_disk / "models" / "tiny", site / "carrier" / "model")
    (site / "carrier" / "__init__.py").touch()
    (site / "carrier" / "model" / "vocab.txt").write_bytes(bytes(3 * 2**20))
    fetch = ("fetch", "--model", "tiny")
    sha256 = identity.sha256(site / "carrier" / "model" / "model.safetensors")
    model = {"hub": "own/tiny", "revision": "1", "package": "carrier/model", "sha256": sha256}
    sandbox.change(small_disk / "params.yaml", "models", "tiny", to=model)
    disks.fill(small_disk / "filler", room=2**20)
    done = sandbox.beft(small_disk, *fetch, plant=("sys.path.append", str(site)))
    assert done.status == 2 and "No space left on device" in done.line()
    assert "vocab.txt" in done.line() and "models.tiny" in done.line()
    assert not (small_disk / "data" / "mirror" / "models").exists()
    (small_disk / "filler").unlink()
    done = sandbox.beft(small_disk, *fetch, plant=("sys.path.append", str(site)))
    assert done.status == 0, done.said


@pytest.mark.parametrize("command", ["plan", "verify"])
def test_nowhere_to_print(quiet, command):
    shell = f"beft {command} > /dev/full"
    done = sandbox.run(quiet, "bash", "-c", shell, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and "No space left on device" in done.stderr
