"""One number, one value: page, embedded data, tables in every format, metrics.json and runs.csv."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from beft.report import build
from beft.report.frames import schema as frames_module
from beft.report.page.embed import unpack
from beft.report.tables.formats import tex

COLUMNS = ["sst2", "mnli_matched", "mnli_mismatched", "stsb", "Avg."]


class Cells(HTMLParser):
    """The tables of one name in a page, per epoch: caption -> rows of the cells' values."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.name = self.epoch = self.caption = ""
        self.rows: dict[tuple[str, str], list[list[str]]] = {}
        self.inside: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        attrs = dict(attrs)
        self.name = attrs.get("data-table", self.name)
        self.epoch = attrs.get("data-epoch", self.epoch)
        if tag == "table":
            self.caption = attrs.get("data-part", "")
        if tag == "tr":
            self.rows.setdefault((self.name, self.epoch, self.caption), []).append([])
        if tag in ("td", "th"):
            self.rows[self.name, self.epoch, self.caption][-1].append(attrs.get("data-name", ""))
        if tag in ("td", "th", "span", "a"):
            self.inside.append((tag, attrs.get("class") or ""))

    def handle_endtag(self, tag) -> None:
        if tag in ("td", "th", "span", "a"):
            self.inside.pop()

    def handle_data(self, data) -> None:
        row = self.rows.get((self.name, self.epoch, self.caption), [[]])[-1]
        kinds = [kind for _, kind in self.inside]
        tags = [tag for tag, _ in self.inside]
        name = tags == ["th"] and row and not row[-1].startswith("b_")
        if row and (name or (kinds[1:] == ["value"] and tags[0] == "td")):
            row[-1] += data.strip()


@pytest.fixture(scope="module")
def reports(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("agreement")
    frames_module.write(frames, folder)
    read = frames_module.read(folder)
    build.write_tables(read, folder)
    build.write_page(read, folder)
    return folder


@pytest.fixture(scope="module")
def page(reports) -> str:
    return (reports / "index.html").read_text(encoding="utf-8")


def embedded(page: str, name: str) -> dict:
    (text,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    return json.loads(text)


def on_page(page: str, epoch: str) -> dict[tuple[str, ...], str]:
    """(model, regime, technique, column) -> what table 1 shows."""
    found = {}
    for (name, of, model), rows in Cells(page).rows.items():
        if (name, of) == ("table1", epoch):
            for regime, technique, *values in rows[1:]:
                for column, value in zip(COLUMNS, values, strict=True):
                    found[model, regime, technique, column] = value
    return found


@pytest.mark.parametrize("epoch", ["best", "last"])
def test_the_page_shows_means_of_the_runs_it_carries(frames, page, epoch) -> None:
    """From the embedded runs alone, in plain arithmetic: the first split's means over seeds."""
    data = embedded(page, "data")
    runs = unpack(data["runs"])
    good = runs[runs["status"] == "ok"]
    shown = on_page(page, epoch)
    split = {"mnli": "mnli_matched"}
    for (model, task, regime, technique), part in good.groupby(
        ["model", "task", "regime", "technique"], sort=False
    ):
        mean = sum(part[epoch]) / len(part)
        value = shown[model, regime, technique, split.get(task, task)]
        assert value == f"{100 * mean:.1f}"
    assert len(shown) == 2 * 3 * 6 * 5


def test_every_format_of_a_table_has_the_same_numbers(reports, page) -> None:
    shown = on_page(page, "best")
    tidy = list(csv.DictReader((reports / "tables" / "table1.csv").open()))
    metrics = json.loads((reports / "metrics.json").read_text())["best"]
    markdown = (reports / "tables" / "table1.md").read_text().replace("\\_", "_")
    latex = (reports / "tables" / "table1.tex").read_text()
    compared = 0
    for row in tidy:
        column = row["task"] + row["split"].removeprefix("validation")
        value = shown[row["model"], row["regime"], row["technique"], column]
        task = row["task"] if row["split"] != "validation_mismatched" else column
        theirs = metrics[row["model"]][task][row["regime"]][row["technique"]]
        if row["mean"] == "":
            assert value == "—" and theirs is None
            continue
        assert float(row["mean"]) == theirs
        assert abs(float(value) - 100 * theirs) <= 0.05 + 1e-9
        assert value in markdown and tex(value) in latex
        compared += 1
    # conftest of this folder: 108 cells of 4 columns less one model's b_k of stsb and b_v of mnli
    assert compared == 2 * 3 * 6 * 4 - 3 - 2


def test_the_texts_to_copy_are_the_files(reports, page) -> None:
    texts = embedded(page, "texts")
    for name, both in texts.items():
        for suffix, text in both["best"].items():
            assert text == (reports / "tables" / f"{name}.{suffix}").read_text(encoding="utf-8")
    last = [row["mean"] for row in csv.DictReader(io.StringIO(texts["table1"]["last"]["csv"]))]
    shown = [v for k, v in on_page(page, "last").items() if k[3] != "Avg."]
    assert sorted(f"{100 * float(mean):.1f}" for mean in last if mean) == sorted(
        value for value in shown if value != "—"
    )


@pytest.mark.parametrize("name", ["runs", "evaluations", "history", "problems", "provenance"])
def test_embedded_frames_are_the_csv_files(reports, page, name) -> None:
    data = embedded(page, "data")
    runs = unpack(data["runs"])
    carried = unpack(data[name], runs if name != "runs" else None)
    written = getattr(frames_module.read(reports), name)
    assert list(carried) == list(written) and len(carried) == len(written)
    expected = written.astype(object).where(written.notna(), None)
    pd.testing.assert_frame_equal(carried, expected, check_dtype=False, check_exact=True)


def test_counts_of_the_overview_are_those_of_the_runs(reports, page) -> None:
    runs = pd.read_csv(reports / "runs.csv")
    counts = json.loads((reports / "metrics.json").read_text())["runs"]
    for status, count in counts.items():
        assert count == (runs["status"] == status).sum()
        assert re.search(rf"<b>{count}</b> runs? {status}", page)
