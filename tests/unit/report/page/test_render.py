"""The page: escaped, self-contained, complete, and the same from the same frames."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from beft.errors import UserError
from beft.report import build
from beft.report.frames import schema as frames_module
from beft.report.frames.schema import Frames
from beft.report.page import render

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Gathers what a browser would see: open tags, text, addresses, and whether tags match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data) -> None:
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text.append(data)

    def every(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def reports(frames: Frames, make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    frames_module.write(frames, folder)
    build.write_tables(frames, folder)
    # small figures serve: how they look is tested elsewhere
    build.write_figures(make(("bert-base-cased",), ("sst2",), ("low", "high")), folder)
    build.write_page(frames, folder)
    return folder


@pytest.fixture(scope="module")
def page(reports) -> Reader:
    return Reader((reports / "index.html").read_text(encoding="utf-8"))


def test_everything_is_written(reports) -> None:
    tables = [f"{n}.{s}" for n in ("table1", "selection") for s in ("csv", "md", "tex")]
    drawn = [f"{n}.{s}" for n in build.FIGURES for s in ("svg", "png", "pdf")]
    assert {p.name for p in (reports / "tables").iterdir()} == set(tables)
    assert {p.name for p in (reports / "figures").iterdir()} == set(drawn)
    assert json.loads((reports / "metrics.json").read_text())["runs"]["diverged"] == 2


def test_answer_comes_first(page: Reader) -> None:
    # conftest: v comes out best wherever all terms have results, 17 of 18 cells
    assert "came out best in 17 of 17 decided cells" in page.words
    assert "1 of 18 cells is not decided" in page.words
    assert page.words.index("came out best") < page.words.index("Metric (%) of each")


def test_all_parts_are_there(page: Reader) -> None:
    for words in ("2 runs diverged", "1 run failed", "killed: out of memory", "Made of random",
                  "batch_size", "low, medium, high", "0123abcd", "beft train",
                  "2/3 diverged"):  # fmt: skip
        assert words in page.words


def test_nothing_is_loaded_from_a_network(page: Reader) -> None:
    addresses = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "data", "action")
                 if attrs.get(key)]  # fmt: skip
    assert addresses
    for address in addresses:
        inside = address.startswith(("data:image/svg+xml,", "#", "tables/", "figures/"))
        assert inside or re.fullmatch(r"[a-z]+\.csv", address)
    assert not page.every("link") and not page.every("iframe")
    (policy,) = [meta["content"] for meta in page.every("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_page_styles_load_nothing(reports) -> None:
    text = (reports / "index.html").read_text(encoding="utf-8")
    text = re.sub(r'src="data:image/svg[^"]*"', "", text)
    text = text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"url\(|@import|https?://", text)


def test_links_lead_to_files_and_sections(page: Reader, reports) -> None:
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert len(ids) == sum("id" in attrs for _, attrs in page.tags)
    for attrs in page.every("a"):
        target = attrs["href"]
        if target.startswith(("#cell=", "#run=")):
            continue  # those open in the dialog: see tests/browser
        assert target[1:] in ids if target.startswith("#") else (reports / target).is_file()


def test_accessible_structure(page: Reader) -> None:
    assert page.every("html")[0]["lang"] == "en"
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert all(attrs.get("alt") for attrs in page.every("img")) and len(page.every("img")) == len(
        build.FIGURES
    )
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.every("th"))
    assert len(page.every("caption")) == len(page.every("table"))
    assert {attrs["aria-labelledby"] for attrs in page.every("section")} <= {
        attrs["id"] for _, attrs in page.tags if "id" in attrs
    }
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_in_light_and_dark(reports) -> None:
    """Every colour of text has at least 4.5 : 1 (WCAG AA) against both grounds of its scheme."""
    text = (reports / "index.html").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r":root \{.*?\}", text, re.S) if "--accent" in block]
    blocks = [block for block in blocks if "--accent: #000" not in block]  # that of paper
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in ("ink", "quiet", "accent", "warn", "v", "q", "k", "s3", "s4", "s5"):
            for ground in ("page", "soft"):
                one, two = sorted((luminance(scheme[ink]), luminance(scheme[ground])))
                assert (two + 0.05) / (one + 0.05) >= 4.5, (ink, ground)


def test_decoders_have_their_tables_on_the_page(table5_study: Frames, tmp_path) -> None:
    both = replace(table5_study, settings={**table5_study.settings, "tables": ["table5", "table6"]})
    build.write_tables(both, tmp_path)
    text = build.write_page(both, tmp_path).read_text(encoding="utf-8")
    seen = Reader(text)
    epoch = "best epoch of each run"
    captions = {f"opt-1.3b, low, {epoch}", f"mini-rotary, low, {epoch}"}
    assert captions <= {line.strip() for line in seen.text}
    assert "<u>92.6</u>" in text and "<b>93.1</b>" in text
    assert {a["href"] for a in seen.every("a")} >= {"tables/table5.csv", "tables/table6.tex"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": (0.0, 0.0, 0.0)}, "1 cell is decided, and no term is ahead of the others in any."),
        (
            {"a": (0.0, 0.0, 0.0), "b": (0.9, 0.8, 0.8)},
            "In 1 decided cell no term is ahead of the others",
        ),
    ],
)
def test_cells_in_which_no_term_is_ahead_are_counted(decoders, tmp_path, values, said) -> None:
    numbers = {
        ("m", task, f"b_{term}"): [value]
        for task, each in values.items()
        for term, value in zip("vqk", each, strict=True)
    }
    text = render.render(decoders(numbers), {}, tmp_path)
    assert said in text and '<span class="quiet">no term is ahead</span>' in text


def test_hostile_names_are_text(frames: Frames, tmp_path) -> None:
    evil = "<script>alert(1)</script>"
    names = {"bert-base-cased": evil, "killed: out of memory": "<img src=x onerror=alert(1)>"}
    changed = {key: getattr(frames, key).replace(names) for key in ("runs", "scores", "problems")}
    models = {names.get(k, k): v for k, v in frames.settings["models"].items()}
    settings = {**frames.settings, "models": models, "study": evil, "description": '"><b>'}
    path = build.write_page(replace(frames, **changed, settings=settings), tmp_path)
    seen = Reader(path.read_text(encoding="utf-8"))
    kinds = [attrs.get("type") for attrs in seen.every("script")]
    assert kinds == ["application/json", "application/json", None]  # the page's own
    assert evil in seen.words and not seen.every("img")
    assert "<img src=x onerror=alert(1)>" in seen.words


def test_a_study_without_runs(nothing: Frames, tmp_path) -> None:
    build.write_tables(nothing, tmp_path)
    seen = Reader(build.write_page(nothing, tmp_path).read_text(encoding="utf-8"))
    assert "Nothing is decided yet" in seen.words
    assert "This figure was not drawn" in seen.words


def test_same_bytes_each_time(frames: Frames, reports) -> None:
    files = [p for p in reports.rglob("*") if p.is_file() and p.parent.name != "figures"]
    before = {path: path.read_bytes() for path in files}
    build.write_tables(frames, reports)
    build.write_page(frames, reports)
    assert {path: path.read_bytes() for path in files} == before


def test_frames_from_files_give_the_same_page(frames: Frames, reports, tmp_path) -> None:
    """What is read back from the CSV files says what the frames in memory said."""
    frames_module.write(frames, tmp_path)
    build.write_tables(frames_module.read(tmp_path), tmp_path)
    for path in (reports / "tables").iterdir():
        assert (tmp_path / "tables" / path.name).read_text() == path.read_text()
    assert (tmp_path / "metrics.json").read_text() == (reports / "metrics.json").read_text()


@pytest.mark.parametrize("key", ["tables", "figures"])
def test_unknown_names_are_a_users_mistake(frames: Frames, tmp_path, key: str) -> None:
    wrong = replace(frames, settings={**frames.settings, key: ["tabel1"]})
    act = build.write_tables if key == "tables" else build.write_figures
    with pytest.raises(UserError, match="tabel1"):
        act(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_seed_is_not_called_agreement(frames) -> None:
    """All seeds agree trivially when there is one: the page must not sell that as certainty."""
    several = render.render(frames, {}, Path("nowhere"))
    assert "every seed agrees" in several and "only one seed" not in several
    runs = frames.runs[frames.runs["seed"] == frames.runs["seed"].min()]
    single = render.render(replace(frames, runs=runs), {}, Path("nowhere"))
    assert "only one seed" in single and "every seed agrees" not in single
