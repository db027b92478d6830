"""Locks: one owner, known by name; dead owners are found out; the living are left alone."""

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beft.errors import UserError
from beft.store import locks, owners

HOLD = (
    "import sys; from pathlib import Path; from beft.store.locks import lock\n"
    "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `work`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "work")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_keeps_others_out_and_says_who_holds_it(tmp_path, holder):
    who = f"process {holder.pid} on {platform.node()}"
    for _ in range(2):  # being refused changes nothing
        with pytest.raises(UserError, match=who), locks.lock(tmp_path / "work"):
            pass


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_is_replaced_at_once(tmp_path, holder, reaped):
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
    assert owners.last_owner(tmp_path / "work") == f"process {holder.pid} on {platform.node()}"
    with locks.lock(tmp_path / "work"):
        said = json.loads((tmp_path / "work" / "lock.2").read_text())
        assert (said["host"], said["process"]) == (platform.node(), os.getpid())
    assert not (tmp_path / "work").exists()


def test_a_stopped_holder_on_this_machine_is_alive(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    holder.send_signal(signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(UserError), locks.lock(tmp_path / "work"):
            pass


def test_a_lock_is_free_again_after_use_and_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.lock(tmp_path / "work"):
        _ = 1 / 0
    # a second one of the same process is kept out as well
    with locks.lock(tmp_path / "work"), pytest.raises(UserError), locks.lock(tmp_path / "work"):
        pass
    assert not (tmp_path / "work").exists()


def test_what_lies_in_the_folder_stays(tmp_path):
    with locks.lock(tmp_path / "work"):
        (tmp_path / "work" / "notes").touch()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["notes"]


class Elsewhere:
    """An owner on another machine, of which nothing can be seen but its file."""

    def __init__(self, folder: Path, number: int = 1):
        self.path, self.beats = folder / f"lock.{number}", 0
        folder.mkdir(exist_ok=True)
        self.beat()

    def beat(self) -> None:
        self.beats += 1
        owner = {"host": "node7", "process": 1, "place": "other", "birth": "5", "job": "42"}
        self.path.write_text(json.dumps({**owner, "beats": f"{self.beats:09d}"}))


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(locks.time, "monotonic", lambda: Clock.now)
    return Clock


def test_an_owner_elsewhere_lives_while_its_heart_beats(tmp_path, clock):
    other, mine = Elsewhere(tmp_path / "work"), locks.Lock(tmp_path / "work")
    for _ in range(20):
        assert mine.take() == "process 1 on node7 (SLURM job 42)"
        other.beat()
        clock.now += locks.PATIENCE - 1


def test_an_owner_elsewhere_whose_heart_stands_still_is_replaced(tmp_path, clock):
    Elsewhere(tmp_path / "work")
    mine = locks.Lock(tmp_path / "work")
    assert mine.take() is not None
    clock.now += locks.PATIENCE - 1
    assert mine.take() is not None
    clock.now += 2
    assert mine.take() is None
    later = locks.Lock(tmp_path / "work")
    assert str(os.getpid()) in later.take()
    mine.release()
    assert not (tmp_path / "work").exists()
    assert later.take() is None
    later.release()


@pytest.mark.parametrize("content", [b"", b'{"host": "node7"', b"[]"])
def test_a_file_that_was_not_written_whole_is_given_time_too(tmp_path, clock, content):
    Elsewhere(tmp_path / "work").path.write_bytes(content)
    mine = locks.Lock(tmp_path / "work")
    assert mine.take() == "another process"
    clock.now += locks.PATIENCE + 1
    assert mine.take() is None
    mine.release()


def test_of_those_who_find_a_dead_owner_one_takes_over(tmp_path, clock):
    Elsewhere(tmp_path / "work")
    first, second = (locks.Lock(tmp_path / "work") for _ in range(2))
    assert first.take() and second.take()
    clock.now += locks.PATIENCE + 1
    assert first.take() is None
    assert second.take() is not None
    first.release()


def test_an_owner_that_stood_still_notices_and_harms_nobody(tmp_path):
    slept = locks.Lock(tmp_path / "work")
    assert slept.take() is None
    slept.check()
    Elsewhere(tmp_path / "work", 2)
    with pytest.raises(UserError, match="another process"):
        slept.check()
    slept.release()  # leaves the files of its successor, and those before
    assert "node7" in locks.Lock(tmp_path / "work").take() or ""


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT", 0.01)
    code = HOLD.replace(
        "from beft.store.locks import lock", "from beft.store import locks; lock = locks.lock"
    )
    code = code.replace("\nwith", "\nlocks.HEARTBEAT = 0.01\nwith")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "work")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    seen = set()
    while len(seen) < 5:
        assert process.poll() is None
        seen.add(json.loads((tmp_path / "work" / "lock.1").read_bytes())["beats"])
    process.communicate()


RACE = """
import sys, time
from pathlib import Path
from beft.store.locks import Lock
work, log = Path(sys.argv[1]), Path(sys.argv[2])
until = time.monotonic() + 3
while time.monotonic() < until:
    lock = Lock(work)
    if lock.take() is None:
        (work / "inside").open("x").close()  # fails when somebody else is inside
        (work / "inside").unlink()
        lock.release()
        with log.open("a") as file:
            file.write(sys.argv[3])
"""


def test_many_processes_never_hold_it_together(tmp_path):
    (tmp_path / "race.py").write_text(RACE)
    log = tmp_path / "log"
    command = [sys.executable, str(tmp_path / "race.py"), str(tmp_path / "work"), str(log)]
    processes = [
        subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "abcd"
    ]
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert len(set(log.read_text())) > 1


def test_claimed_holds_what_is_free(tmp_path, holder):
    wanted = {name: locks.Lock(tmp_path / name) for name in ("work", "other")}
    with locks.claimed(wanted) as others:
        assert set(others) == {"work"} and f"process {holder.pid}" in others["work"]
        with pytest.raises(UserError), locks.lock(tmp_path / "other"):
            pass
    with locks.lock(tmp_path / "other"):
        pass


def test_an_owner_that_proc_hides_is_not_taken_for_dead(tmp_path, holder, monkeypatch):
    """As another user's process is on many clusters (`hidepid`)."""
    mine = os.getpid()
    seen = owners._birth
    monkeypatch.setattr(owners, "_birth", lambda process: seen(process) if process == mine else "")
    monkeypatch.setattr(owners, "_hidden", lambda process: True)
    assert f"process {holder.pid}" in (locks.Lock(tmp_path / "work").take() or "")


def test_a_process_that_is_gone_is_not_hidden(holder):
    assert not owners._hidden(holder.pid)  # to be seen
    holder.kill()
    holder.wait()
    assert not owners._hidden(holder.pid)


def test_a_heart_does_not_beat_into_the_lock_of_another(tmp_path):
    slept = locks.Lock(tmp_path / "work")
    assert slept.take() is None
    other = Elsewhere(tmp_path / "work")  # taken over, given back and taken anew meanwhile
    before = other.path.read_bytes()
    slept.beat()
    slept.release()
    assert other.path.read_bytes() == before


def test_what_was_given_back_meanwhile_is_not_taken_over(tmp_path, clock, monkeypatch):
    """Between finding the owner dead and taking over, somebody else has taken the lock properly."""
    first = Elsewhere(tmp_path / "work")
    mine = locks.Lock(tmp_path / "work")
    real = mine._lives

    def lives(number: int, content: bytes) -> bool:
        if len(seen) < 1:
            seen.append(number)
            first.beat()
            return False
        return real(number, content)

    seen: list[int] = []
    monkeypatch.setattr(mine, "_lives", lives)
    assert "node7" in (mine.take() or "")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock.1"]
