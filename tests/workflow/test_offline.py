"""Jobs ask no network: what they do is watched, in a network namespace that has none."""

import json
import subprocess
from pathlib import Path

import pytest
from support import sandbox, tiny

from beft.study.project import load

# Loaded by every interpreter that finds it on PYTHONPATH; also by those that jobs start.
WATCH = """
import os, sys

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], (str, bytes)):
        return  # a socket of this machine (AF_UNIX)
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{event} {arguments[-1] if event == 'socket.connect' else arguments}\\n")

sys.addaudithook(watch)
"""
PARAMS = sandbox.PARAMS | {
    "models": {
        "local": {"path": "models/tiny"},
        "encoder": {"hub": "own/encoder", "revision": "r1"},
        "decoder": {"hub": "own/decoder", "revision": "r1", "kind": "decoder"},
    },
    "techniques": {**sandbox.PARAMS["techniques"], "lora": {"lora_rank": 2, "lora_alpha": 4}},
    "decoder": {
        "objective": "cross_entropy_over_candidates",
        "max_length": 64,
        "evaluated": 4,
        "max_new_tokens": 4,
    },
}
STUDY = sandbox.STUDY | {
    "models": list(PARAMS["models"]),
    "techniques": ["b_v", "all_biases", "lora"],
    "selectors": ["projection", "fisher"],
    "fuse_techniques": True,
    "training": {"epochs": 1},
}


def namespace() -> list[str]:
    """What puts a command where there is no network; nothing where that is not permitted."""
    try:
        done = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    except FileNotFoundError:
        return []
    return [] if done.returncode else ["unshare", "-n"]


class Watched:
    """A project, and commands in it that are watched.

    Attributes:
        attempts: what tried the network, one line each.
    """

    def __init__(self, folder: Path):
        self.folder, self.isolated = folder / "project", namespace()
        self.attempts = folder / "attempts"
        self.attempts.touch()
        (folder / "watch").mkdir()
        self.watch = folder / "watch" / "sitecustomize.py"
        self.watch.write_text(WATCH)
        self.variables = {
            "PYTHONPATH": str(folder / "watch"),
            "ATTEMPTS": str(self.attempts),
            "HF_HUB_OFFLINE": "0",  # that jobs are offline must not depend on who starts them
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HF_HOME": str(folder / "hf"),
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        return sandbox.run(
            self.folder, *self.isolated, *command, check=check, real=True, **self.variables
        )

    def beft(self, *arguments: str, real: bool) -> tuple[int, str]:
        """Status and messages of a command, which is a process of its own or a warm one."""
        if real:
            done = self.run("beft", *arguments, check=False)
            return done.returncode, done.stderr
        plant = ("support.isolated.enter", str(self.watch))
        return sandbox.beft(self.folder, *arguments, plant=plant, **self.variables)


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Watched:
    """A project whose data and models were fetched; two models lie in its mirror."""
    watched = Watched(tmp_path_factory.mktemp("offline"))
    folder = sandbox.make(watched.folder, PARAMS, STUDY)
    models = folder / "data" / "mirror" / "models" / "own"
    tiny.checkpoint("bert", models / "encoder")
    tiny.decoder_checkpoint("opt", models / "decoder")
    for name in ("encoder", "decoder"):  # where these weights once came from
        config = models / name / "config.json"
        named = json.loads(config.read_text()) | {"_name_or_path": f"own/{name}"}
        config.write_text(json.dumps(named))
    watched.run("beft", "fetch", "--check")
    watched.run("beft", "fetch")
    for path in load(folder / "params.yaml").subsets:
        watched.run("beft", "subsample", f"data/subsets/{path}")
    return watched


@pytest.mark.parametrize("model", list(PARAMS["models"]))
def test_jobs_do_not_try_the_network(watched, model):
    project = load(watched.folder / "params.yaml")
    (pack,) = (path for path in project.packs if path.startswith(f"{model}/"))
    (scores,) = (path for path in project.cells if path.startswith(f"{model}/"))
    assert {r.technique for r in project.packs[pack].recipes} >= set(STUDY["techniques"])
    for job in (("train", f"data/packs/{pack}"), ("score", f"data/scores/{scores}")):
        status, said = watched.beft(*job, real=model == "encoder")
        assert status == 0, said
    assert (watched.folder / "data/scores" / scores).is_file()
    assert watched.attempts.read_text() == ""


@pytest.mark.parametrize("real", [True, False])
def test_an_attempt_would_have_been_seen(watched, real):
    """What the mirror lacks is asked of the hub, by a command that may do so."""
    sandbox.change(watched.folder / "params.yaml", "models", "encoder", "hub", to="own/absent")
    try:
        status, said = watched.beft("fetch", "--model", "encoder", real=real)
        assert status == 2 and "hub cannot be reached" in said
        assert "socket.connect" in watched.attempts.read_text()
    finally:
        sandbox.change(watched.folder / "params.yaml", "models", "encoder", "hub", to="own/encoder")
        watched.attempts.write_text("")
