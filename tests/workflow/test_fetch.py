"""Fetching from a hub on loopback: whole, resumed, refused, at once; and what --check says."""

import io
import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, save
from support import hub, sandbox, tiny

from beft.data.mirror import transfers
from beft.errors import UserError
from beft.study.identity import sha256

WEIGHTS, TRAIN = "model.safetensors", "c1/train-00000-of-00002.parquet"
CHUNK = 10 * 2**20  # what huggingface_hub writes at a time
MODEL, DATASET = "data/mirror/models/own/m", "data/mirror/datasets/own/data/c1"
CARD = """---
configs:
- config_name: c1
  data_files:
  - {split: train, path: c1/train-*}
  - {split: validation, path: c1/validation-*}
  - {split: test, path: c1/test-*}
---
"""
TASK = {
    "hub": "own/data",
    "config": "c1",
    "revision": hub.REVISION,
    "text": ["sentence"],
    "labels": ["no", "yes"],
    "metric": "accuracy",
    "regimes": {"low": 4},
    "learning_rate": 1e-2,
    "epochs": 1,
}


def rows(split: str, part: int) -> dict[str, list]:
    return {"sentence": [f"{split} {part} {i}" for i in range(8)], "label": [0, 1] * 4}


def parquet(split: str, part: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows(split, part)), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> dict[str, bytes]:
    """The files of an encoder whose weights take two and a half chunks."""
    words = CHUNK * 5 // 2 // (4 * tiny.WIDTH)
    folder = tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"), vocab_size=words)
    vocabulary = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm\n"
    return {name: (folder / name).read_bytes() for name in ("config.json", WEIGHTS)} | {
        "vocab.txt": vocabulary
    }


@pytest.fixture
def server(checkpoint):
    """A hub with one model, whose weights take two and a half chunks, and one dataset."""
    with hub.serving() as running:
        running.repositories["models", "own/m"] = {
            **checkpoint,
            "pytorch_model.bin": b"pickled",
            "onnx/config.json": b"{}",
        }
        running.repositories["datasets", "own/data"] = {
            "README.md": CARD.encode(),
            **{
                f"c1/{split}-0000{part}-of-00002.parquet": parquet(split, part)
                for split in ("train", "validation", "test")
                for part in (0, 1)
            },
        }
        yield running


class Place:
    """A project that fetches from a hub."""

    def __init__(self, folder: Path, server: hub.Hub):
        self.folder, self.server = folder, server
        caches = {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "hf")}
        self.variables = server.variables() | caches
        model = {"hub": "own/m", "revision": hub.REVISION}
        params = sandbox.PARAMS | {"models": {"m": model}, "tasks": {"mine": TASK}}
        sandbox.write(folder / "params.yaml", params)
        study = sandbox.STUDY | {"models": ["m"], "tasks": ["mine"]}
        sandbox.write(folder / "studies" / "mini.yaml", study)

    def fetch(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        command, given = ("beft", "fetch", *arguments), self.variables | variables
        return sandbox.run(self.folder, *command, check=False, real=True, **given)

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["beft", "fetch", *arguments],
            cwd=self.folder,
            env=sandbox.environment(**self.variables),
            stderr=subprocess.PIPE,
            text=True,
        )

    def set(self, *keys: str, to: object) -> None:
        sandbox.change(self.folder / "params.yaml", *keys, to=to)

    def model(self) -> dict[str, bytes]:
        """What the mirror has of the model."""
        return sandbox.contents(self.folder / MODEL)

    def manifest(self) -> dict:
        path = self.folder / "data/mirror/manifest.json"
        return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def place(tmp_path, server) -> Place:
    return Place(tmp_path, server)


def said(done: subprocess.CompletedProcess) -> list[str]:
    """The lines about what went wrong; there is never a traceback."""
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("beft: ")]


def wanted(server: hub.Hub) -> dict[str, bytes]:
    """What a mirror holds of the model: no pickles, nothing of subfolders."""
    names = ("config.json", "vocab.txt", WEIGHTS)
    return {name: server.repositories["models", "own/m"][name] for name in names}


def sizes_of(server: hub.Hub) -> dict[str, int]:
    """What is downloaded of the model, and of the two splits that the task reads."""
    files = server.repositories["datasets", "own/data"]
    read = [files[name] for name in files if "train" in name or "validation" in name]
    return {
        "models.m": sum(len(content) for content in wanted(server).values()),
        "tasks.mine": sum(len(content) for content in read),
    }


def until(happened) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_fetch_fills_the_mirror_and_what_is_there_is_not_asked_for_again(place, server):
    before = place.fetch("--check")
    assert before.returncode == 2
    lines = said(before)
    assert [line.split(":")[1].strip() for line in lines] == ["tasks.mine", "models.m"]
    for line, where, command in zip(lines, (DATASET, MODEL), ("task mine", "model m"), strict=True):
        assert str(place.folder / where) in line and f"'beft fetch --{command}'" in line
    assert not (place.folder / "data").exists()
    listed = {f"{key}: {size / 1e9:.3f} GB, missing" for key, size in sizes_of(server).items()}
    assert listed == set(before.stdout.splitlines()[2:])
    assert {answer.path for answer in server.answers} <= {"README.md"}

    server.forget()
    offline = place.fetch("--check", HF_HUB_OFFLINE="1")
    assert (offline.returncode, said(offline)) == (2, lines) and server.requests == []
    assert "models.m: size not known, missing" in offline.stdout.splitlines()

    done = place.fetch()
    assert done.returncode == 0, done.stderr
    assert place.model() == wanted(server)
    for split in ("train", "validation"):
        found = pq.read_table(place.folder / DATASET / f"{split}.parquet").to_pydict()
        parts = [rows(split, part) for part in (0, 1)]
        assert found == {key: parts[0][key] + parts[1][key] for key in parts[0]}
    places = {"models/own/m": place.folder / MODEL, "datasets/own/data/c1": place.folder / DATASET}
    assert place.manifest() == {
        name: {
            "revision": hub.REVISION,
            "sha256": {path.name: sha256(path) for path in folder.iterdir()},
        }
        for name, folder in places.items()
    }
    asked = {answer.path for answer in server.answers}
    assert not {name for name in asked if "test" in name or "onnx" in name or ".bin" in name}

    server.forget()
    after = place.fetch("--check")
    size = sum(path.stat().st_size for folder in places.values() for path in folder.iterdir())
    assert (after.returncode, len(after.stdout.splitlines())) == (0, 3)
    assert after.stdout.startswith("2 ") and f"{size / 1e9:.3f} GB" in after.stdout
    assert place.fetch().returncode == 0
    assert server.requests == []


def sizes(folder: Path) -> list[int]:
    """The bytes of all incomplete files; one may be completed, and renamed, at any moment."""
    found = []
    for path in folder.rglob("*.part"):
        with suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_killed_fetch_goes_on_where_it_was(place, server, number, status):
    fault = server.faults[WEIGHTS] = hub.Fault(stall=CHUNK * 3 // 2)
    process = place.start("--model", "m")
    parts = place.folder / "data/mirror/.fetching"
    until(lambda: CHUNK in sizes(parts))
    process.send_signal(number)
    assert "Traceback" not in process.communicate()[1]
    assert process.returncode == status
    fault.go.set()
    assert not (place.folder / MODEL).exists() and place.manifest() == {}
    assert place.fetch("--check", "--model", "m").returncode == 2

    server.forget()
    assert place.fetch("--model", "m").returncode == 0
    rest = len(wanted(server)[WEIGHTS]) - CHUNK
    assert [(a.path, a.start, a.sent) for a in server.answers] == [(WEIGHTS, CHUNK, rest)]
    assert place.model() == wanted(server)
    assert list(parts.iterdir()) == []


def test_a_connection_that_breaks_is_taken_up_again(place, server):
    server.faults[WEIGHTS] = hub.Fault(cut=CHUNK * 3 // 2)
    assert place.fetch("--model", "m").returncode == 0
    assert [a.start for a in server.answers if a.path == WEIGHTS] == [0, CHUNK]
    assert place.model() == wanted(server)


def test_one_that_fails_does_not_stop_the_others(place, server):
    server.faults[WEIGHTS] = hub.Fault(status=500)
    done = place.fetch()
    assert done.returncode == 2
    (line,) = said(done)
    assert line.startswith("beft: models.m: own/m cannot be fetched") and "500" in line
    assert set(place.manifest()) == {"datasets/own/data/c1"}
    assert list((place.folder / "data/sources/mine").iterdir())

    server.forget()
    assert place.fetch().returncode == 0
    assert [answer.path for answer in server.answers] == [WEIGHTS]


@pytest.mark.parametrize(
    ("name", "arguments", "where"),
    [
        (WEIGHTS, ("--model", "m"), "models.m"),
        ("config.json", ("--model", "m"), "models.m"),
        (TRAIN, ("--task", "mine"), "tasks.mine"),
    ],
)
def test_wrong_bytes_are_refused_and_fetched_anew(place, server, name, arguments, where):
    server.faults[name] = hub.Fault(wrong=True)
    done = place.fetch(*arguments)
    assert done.returncode == 2
    (line,) = said(done)
    assert line.startswith(f"beft: {where}: {name} ") and "checksum" in line
    assert place.manifest() == {}
    assert not (place.folder / MODEL).exists() and not (place.folder / DATASET).exists()

    server.forget()
    assert place.fetch(*arguments).returncode == 0
    repository = server.repositories["datasets" if where == "tasks.mine" else "models",
                                     "own/data" if where == "tasks.mine" else "own/m"]  # fmt: skip
    assert server.served(name) == len(repository[name])


def test_two_at_once_fetch_once(place, server):
    fault = server.faults[WEIGHTS] = hub.Fault(stall=1000)
    first = place.start("--model", "m")
    assert fault.stalled.wait(120)
    second = place.start("--model", "m")
    assert f"is being fetched by process {first.pid} on" in second.stderr.readline()
    fault.go.set()
    for process in (first, second):
        process.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert {a.path: a.sent for a in server.answers} == {
        name: len(content) for name, content in wanted(server).items()
    }
    assert len(server.answers) == 3
    assert place.model() == wanted(server)


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("models", "m", "revision"), "2" * 40, ("models.m", "no revision " + "2" * 40)),
        (("models", "m", "hub"), "own/other", ("models.m", "no model own/other")),
        (("models", "m", "sha256"), "0" * 64, ("models.m", "pinned " + "0" * 64)),
        (("tasks", "mine", "revision"), "2" * 40, ("tasks.mine", "no revision " + "2" * 40)),
        (("tasks", "mine", "hub"), "own/other", ("tasks.mine", "no dataset own/other")),
        (("tasks", "mine", "config"), "c2", ("tasks.mine", "c2", "c1")),
        (("tasks", "mine", "train"), "training", ("tasks.mine", "'training'", "test, train")),
    ],
)
def test_what_the_hub_does_not_have_is_one_clear_line(place, keys, value, words):
    place.set(*keys, to=value)
    done = place.fetch(*(("--model", "m") if keys[0] == "models" else ("--task", "mine")))
    (line,) = said(done)
    assert done.returncode == 2 and all(word in line for word in words)
    assert place.manifest() == {}


def test_a_model_without_weights_for_torch_is_not_fetched(place, server):
    for name in (WEIGHTS, "pytorch_model.bin"):
        del server.repositories["models", "own/m"][name]
    (line,) = said(place.fetch("--model", "m"))
    assert "models.m" in line and "no weights for torch" in line
    assert server.answers == []


def test_terms_that_were_not_accepted_are_named(place, server):
    server.faults["config.json"] = hub.Fault(status=403, code="GatedRepo")
    (line,) = said(place.fetch("--model", "m"))
    assert line.startswith("beft: models.m: own/m is gated") and "hf auth login" in line


def test_the_commands_of_the_docs_do_what_they_say(place):
    blocks = re.findall(r"```bash\n(.*?)```", (sandbox.ROOT / "docs/fetching.md").read_text(), re.S)
    commands = [line.partition("#")[0].split() for line in "".join(blocks).splitlines()]
    assert [command[:2] for command in commands] == [["beft", "fetch"]] * 2
    for command in commands:
        words = ["mini" if word == "table1" else word for word in command]
        assert place.fetch(*words[2:]).returncode == 0


def in_parts(server: hub.Hub) -> dict[str, bytes]:
    """Publishes the same weights as two pickles, as before safetensors."""
    files = dict(server.repositories["models", "own/m"])
    tensors = load(files.pop(WEIGHTS))
    names = sorted(tensors)
    del files["pytorch_model.bin"]
    places = {}
    for part, keys in ((1, names[:9]), (2, names[9:])):
        file = f"pytorch_model-0000{part}-of-00002.bin"
        buffer = io.BytesIO()
        torch.save({key: tensors[key] for key in keys}, buffer)
        files[file] = buffer.getvalue()
        places |= dict.fromkeys(keys, file)
    files["pytorch_model.bin.index.json"] = json.dumps({"weight_map": places}).encode()
    server.repositories["models", "own/m"] = files
    return {name: content for name, content in files.items() if name.endswith(".bin")}


def test_a_killed_conversion_goes_on_with_the_next_file(place, server):
    first, second = in_parts(server)
    fault = server.faults[second] = hub.Fault(stall=1000)
    original = load(weights_of(server))
    process = place.start("--model", "m")
    assert fault.stalled.wait(120)
    process.kill()
    process.communicate()
    fault.go.set()
    staged = place.folder / "data/mirror/.fetching"
    assert [path.name for path in staged.rglob("*.safetensors")] == [
        "model-00001-of-00002.safetensors"
    ]
    assert list(staged.rglob("*.bin")) == [] and place.manifest() == {}

    server.forget()
    assert place.fetch("--model", "m").returncode == 0
    assert first not in {answer.path for answer in server.answers}
    found = {}
    for path in (place.folder / MODEL).glob("*.safetensors"):
        found |= load(path.read_bytes())
    assert found.keys() == original.keys()
    assert all(torch.equal(found[key], original[key]) for key in found)
    (entry,) = place.manifest().values()
    assert set(entry["pickled"]) == {first, second}


def weights_of(server: hub.Hub) -> bytes:
    """The weights of the model in one file of safetensors."""
    files = server.repositories["models", "own/m"]
    found = {}
    for name, content in files.items():
        if name.endswith(".bin"):
            found |= torch.load(io.BytesIO(content), weights_only=True)
    return save(found)


def test_a_pickle_that_holds_more_is_refused_and_does_not_stay(place, server):
    in_parts(server)
    files = dict(server.repositories["models", "own/m"])
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2), "optimizer": Path("state")}, buffer)
    files["pytorch_model-00001-of-00002.bin"] = buffer.getvalue()
    server.repositories["models", "own/m"] = files
    done = place.fetch("--model", "m")
    (line,) = said(done)
    assert done.returncode == 2 and "models.m: pytorch_model-00001-of-00002.bin of own/m" in line
    assert "refused: it holds more than tensors: pathlib" in line
    assert not list((place.folder / "data").rglob("*.bin")) and place.manifest() == {}


SCRIPT = {"README.md": b"# A dataset\n", "data.py": b"raise SystemExit\n", "data.json": b"{}"}


def by_script(server: hub.Hub, **converted: bytes) -> None:
    """The dataset needs its script; the hub keeps a conversion of it."""
    server.repositories["datasets", "own/data"] = SCRIPT
    server.conversions["own/data"] = (
        {".gitattributes": b""}
        | {
            f"c1/{split}/000{part}.parquet": parquet(split, part)
            for split in ("train", "validation", "test")
            for part in (0, 1)
        }
        | {path.replace("__", "/") + ".parquet": content for path, content in converted.items()}
    )


def test_a_dataset_that_needs_a_script_is_taken_from_the_hubs_conversion(place, server):
    by_script(server, c2__train__0000=parquet("other", 0))
    done = place.fetch("--task", "mine")
    assert done.returncode == 0, done.stderr
    assert f"refs/convert/parquet, commit {hub.COMMIT}" in done.stdout
    found = pq.read_table(place.folder / DATASET / "train.parquet").to_pydict()
    parts = [rows("train", part) for part in (0, 1)]
    assert found == {key: parts[0][key] + parts[1][key] for key in parts[0]}
    (entry,) = place.manifest().values()
    assert (entry["revision"], entry["parquet"]) == (hub.REVISION, hub.COMMIT)
    asked = {answer.path for answer in server.answers}
    assert not {name for name in asked if "test" in name or "c2" in name}
    assert place.fetch("--check", "--task", "mine").returncode == 0

    place.set("tasks", "mine", "revision", to=hub.COMMIT)  # pinned
    done = place.fetch("--task", "mine")
    assert done.returncode == 0, done.stderr
    (entry,) = place.manifest().values()
    assert entry["revision"] == hub.COMMIT and "parquet" not in entry
    again = pq.read_table(place.folder / DATASET / "train.parquet").to_pydict()
    assert again == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.conversions.clear(), ("cannot be fetched", "script")),
        (lambda s: by_script(s, **{"c1__partial-train__0000": b""}), ("only in part", "'path'")),
        (
            lambda s: s.conversions.update({"own/data": {"c3/train/0000.parquet": b""}}),
            ("c1", "c3"),
        ),
        (
            lambda s: s.conversions.update({"own/data": {"c1/train/0000.parquet": b""}}),
            ("no split named 'validation'", "it has train"),
        ),
    ],
    ids=["no conversion", "a part", "another configuration", "without a split"],
)
def test_what_no_conversion_holds_is_one_line(place, server, change, words):
    by_script(server)
    change(server)
    done = place.fetch("--task", "mine")
    (line,) = said(done)
    assert done.returncode == 2 and line.startswith("beft: tasks.mine: own/data")
    assert all(word in line for word in words)


def test_names_that_lead_elsewhere_are_refused(place, server):
    files = server.repositories["models", "own/m"]
    server.repositories["models", "own/m"] = {**files, "../evil.json": b"{}"}
    done = place.fetch("--model", "m")
    (line,) = said(done)
    assert done.returncode == 2 and "leads elsewhere" in line
    assert not (place.folder / "data/mirror/models").exists()


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(place, server):
    server.claims["onnx/config.json"] = 10**18  # not fetched, so not counted
    server.claims[WEIGHTS] = 10**16
    done = place.fetch()
    (line,) = said(done)
    assert done.returncode == 2 and "10000000.0" in line and "GB are free" in line
    assert {answer.path for answer in server.answers} <= {"README.md"}
    assert not (place.folder / "data/mirror").exists()
    assert place.fetch("--task", "mine").returncode == 0


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


# What happens to a mirror -> what --check says of it.
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: flip(p.folder / MODEL / WEIGHTS), (f"{MODEL}/{WEIGHTS}", "sha256 differs")),
        (lambda p: (p.folder / MODEL / "vocab.txt").unlink(), (f"{MODEL}/vocab.txt", "missing")),
        (lambda p: flip(p.folder / DATASET / "train.parquet"), (f"{DATASET}/train.parquet",)),
        (lambda p: p.set("models", "m", "revision", to="2" * 40), (f"of revision {hub.REVISION}",)),
        (lambda p: p.set("models", "m", "sha256", to="0" * 64), ("models.m", "other weights")),
        (
            lambda p: p.set("tasks", "mine", "validation", to=["test"]),
            ("tasks.mine", "without test.parquet", "'beft fetch --task mine'"),
        ),
    ],
    ids=["weights", "tokenizer", "data", "revision", "pinned weights", "split"],
)
def test_check_finds_what_is_not_as_it_was_pinned(place, server, damage, words):
    assert place.fetch().returncode == 0
    server.forget()
    damage(place)
    done = place.fetch("--check")
    (line,) = said(done)
    assert done.returncode == 2 and all(word in line for word in words)
    assert {answer.path for answer in server.answers} <= {"README.md"}


def test_check_names_the_study_that_has_to_be_fetched(place):
    study = sandbox.STUDY | {"models": ["m"], "tasks": ["mine"]}
    sandbox.write(place.folder / "studies" / "other.yaml", study)
    (line,) = said(place.fetch("--check", "--study", "other", "--model", "m"))
    assert "run 'beft fetch --study other --model m'" in line
    assert place.fetch("--study", "other", "--model", "m").returncode == 0


def test_tasks_that_share_a_dataset_bring_all_their_splits(place):
    place.set("tasks", "other", to=TASK | {"validation": ["test"]})
    sandbox.change(place.folder / "studies/mini.yaml", "tasks", to=["mine", "other"])
    assert place.fetch().returncode == 0
    files = {path.name: sha256(path) for path in (place.folder / DATASET).iterdir()}
    assert set(files) == {"train.parquet", "validation.parquet", "test.parquet"}
    assert place.manifest()["datasets/own/data/c1"]["sha256"] == files


def test_data_that_is_there_normalised_needs_no_mirror(place, server):
    assert place.fetch("--task", "mine").returncode == 0
    (place.folder / DATASET).rename(place.folder / "elsewhere")
    assert place.fetch("--check", "--task", "mine").returncode == 0
    flip(next((place.folder / "data/sources/mine").rglob("train.parquet")))
    (line,) = said(place.fetch("--check", "--task", "mine"))
    assert "train.parquet is damaged" in line and "fetch --task mine" in line


def test_a_terminal_shows_how_far_everything_is(place):
    master, slave = os.openpty()
    variables = sandbox.environment(**place.variables, TERM="xterm", COLUMNS="120")
    process = subprocess.Popen(["beft", "fetch"], cwd=place.folder, env=variables, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 4096):
            shown += part
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    os.close(master)
    assert process.wait() == 0
    text = shown.decode()
    size = f"{sum(map(len, wanted(place.server).values())) / 1e6:.1f}"
    done = ("models.m done", "tasks.mine done", f"{size}/{size} MB")
    assert all(words in text for words in done)


def test_jobs_tell_how_far_they_are_and_how_they_ended(caplog):
    caplog.set_level("INFO", "beft")
    shown = []

    def slow(transfer: transfers.Transfer) -> Path:
        transfer.step, transfer.total = "fetching", 4
        transfer.advance(1)
        until(lambda: ("b", 1, 4, "fetching") in shown)
        return Path("here")

    def bad(transfer: transfers.Transfer) -> Path:
        raise UserError("one line")

    failed = transfers.fetch_all({"a": bad, "b": slow}, lambda *told: shown.append(told))
    assert failed == ["one line"] and {"a: failed", "b: here"} <= set(caplog.messages)
    assert ("a", 0, 0, "failed") in shown and shown[-1] == ("b", 1, 4, "done")


def test_a_mistake_of_ours_is_not_taken_for_the_users():
    def broken(transfer: transfers.Transfer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transfers.fetch_all({"a": broken})
