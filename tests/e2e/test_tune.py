"""`beft tune` and `beft predict` as commands, in an empty folder, on a file of one's own."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import forked, sandbox, tiny

BEFT = Path(sys.executable).with_name("beft")
SUBJECTS = ("film", "movie", "story", "plot", "actor", "man", "woman", "dog", "cat")
GOOD, BAD = ("good", "great", "fine"), ("bad", "terrible", "dull")


def rows(count: int) -> list[dict[str, str]]:
    """Sentences whose adjective is their label."""
    found = []
    for i in range(count):
        words = (GOOD, BAD)[i % 2]
        subject, word = SUBJECTS[i // 2 % len(SUBJECTS)], words[i // 18 % 3]
        more = ("", " and very", " but so")[i // 54 % 3]
        text = f"the {subject} was{more} {word}"
        found.append({"id": str(i), "review": text, "verdict": "bad" if i % 2 else "good"})
    return found


def write(path: Path, content: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(content[0]))
        writer.writeheader()
        writer.writerows(content)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a csv and a tiny model, nothing else."""
    folder = tmp_path_factory.mktemp("own")
    write(folder / "reviews.csv", rows(108))
    tiny.checkpoint("bert", folder / "model")
    return folder


def command(*words: str) -> list[str]:
    return [str(BEFT), *words]


METRICS = "data/runs/*/*/*/*/*/*/metrics.json"  # of runs that are done
TUNE = ("tune", "reviews.csv", "--model", "model", "--minutes", "0.1", "--seeds", "2", "--yes",
        "--workers", "1")  # fmt: skip


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command(*words), cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def tuned(place) -> tuple[Path, list[str]]:
    """The adapter's folder, and the lines that were printed."""
    done = call(place, *TUNE, "--to", "adapter")
    assert done.returncode == 0, done.stderr
    return place / "adapter", done.stdout.splitlines()


def test_at_most_twenty_lines_say_what_was_found(tuned):
    folder, lines = tuned
    assert len(lines) <= 20
    said = "\n".join(lines)
    assert "108 rows" in said and "choice: " in said and "test: accuracy" in said


def test_nothing_but_the_adapter_stays_behind(tuned, place):
    assert {p.name for p in place.iterdir()} == {"reviews.csv", "model", "adapter"}


def test_the_page_leads_to_nothing_that_is_not_there(tuned):
    """Nor does it begin with the question of a study, which of its selectors was right."""
    folder, _ = tuned
    page = (folder / "report.html").read_text(encoding="utf-8")
    links = {link for link in re.findall(r'(?:href|src)="([^"]+)"', page)}
    shown = {link for link in links if link.startswith(("#cell=", "data:"))}
    assert links - shown == {f"#{name}" for name in re.findall(r'<h2 id="([^"]+)"', page)}
    assert shown and "selectors choose" not in page and "No run belongs" not in page
    assert "README.md in the same folder" in page


def test_the_card_names_every_file(tuned):
    folder, _ = tuned
    card = (folder / "README.md").read_text(encoding="utf-8")
    tokenizer = {path.name for path in folder.glob("*token*")}
    others = {path.name for path in folder.iterdir()} - tokenizer - {"README.md"}
    assert all(f"`{name}`" in card or f"]({name})" in card for name in others)


def test_the_split_has_each_row_once_and_equal_texts_on_one_side(tuned, place):
    folder, _ = tuned
    parts = {int(row["row"]): row["part"] for row in read(folder / "split.csv")}
    assert sorted(parts) == list(range(108))
    assert {"test", "fold 1", "fold 2"} == set(parts.values())
    sides: dict[str, set[str]] = {}
    for i, row in enumerate(read(place / "reviews.csv")):
        sides.setdefault(row["review"], set()).add(parts[i])
    assert all(len(side) == 1 for side in sides.values())


def test_predictions_of_the_test_rows_give_the_accuracy_that_was_told(tuned, place):
    """The number is that of the very adapter, on rows that nothing was chosen on."""
    folder, _ = tuned
    tests = {int(r["row"]) for r in read(folder / "split.csv") if r["part"] == "test"}
    chosen = [row for i, row in enumerate(read(place / "reviews.csv")) if i in tests]
    write(place / "new.csv", chosen)
    done = sandbox.beft(place, "predict", "adapter", "new.csv", "--to", "predicted.csv")
    assert done.status == 0, done.said
    answers = read(place / "predicted.csv")
    assert [row["id"] for row in answers] == [row["id"] for row in chosen]
    right = sum(row["predicted"] == row["verdict"] for row in answers)
    told = json.loads((folder / "beft.json").read_text())["test"]
    assert right / len(answers) == pytest.approx(told["value"])
    for name in ("new.csv", "predicted.csv"):
        (place / name).unlink()


def test_a_stopped_call_goes_on_and_ends_as_if_it_had_not_been(tuned, place, tmp_path):
    """After SIGTERM nothing is written but the work folder; the next call uses its runs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command(*TUNE, "--to", "second"), cwd=place, env=environment, start_new_session=True
    )
    work = place / ".second.work"
    until = time.monotonic() + 120
    while not any(work.glob(METRICS)):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(90) != 0
    assert not (place / "second").exists()
    found = {path: path.stat().st_mtime_ns for path in work.glob(METRICS)}
    assert found
    again = ["beft", *TUNE, "--to", "second"]
    going = forked.Call(again, place, sandbox.environment(HF_HUB_OFFLINE="1"))
    seen = dict.fromkeys(found, 0)
    while not going.ended():
        for path in found:
            with suppress(FileNotFoundError):  # the work folder goes when the adapter is there
                seen[path] = path.stat().st_mtime_ns
        time.sleep(0.05)
    done = going.wait()
    assert done.status == 0, done.said
    assert seen == found  # runs that were done are not trained again
    one, other = (read(place / name / "runs.csv") for name in ("adapter", "second"))
    assert one == other
