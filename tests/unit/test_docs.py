"""Files, names, links and commands that the documentation mentions exist."""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
import typer

from beft.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
COMMANDS = typer.main.get_group(app).commands
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)

FENCED = re.compile(r"^```.*?^```", re.S | re.M)
INLINE = re.compile(r"`([^`\n]*)`")
# Folders of the repository; what commands make is not checked.
PATH = re.compile(
    r"(?<![\w/.~])(?:beft|benchmarks|docs|profiles|slurm|studies|tests|workflow)/[\w./*-]+"
)
NAME = re.compile(r"(?<![\w/.])beft(?:\.[a-zA-Z_]\w*)+")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
NO_NAMES = ("beft.sif", "beft.def", "beft.json", "beft.safetensors")  # but files
MADE = "example.py"  # of an adapter's folder
NAME_IN_FILE = re.compile(r"`(\w+)` in `(beft/[\w/]+\.py)`")
FILE = re.compile(r"`([\w./*-]+\.(?:py|js|css|j2))`")
CALL = re.compile(r"(beft|make) +([a-z][a-z-]*)(.*)")

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCED.sub("", text), re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def broken_links(page: Path) -> list[str]:
    broken = []
    text = INLINE.sub("", FENCED.sub("", page.read_text()))
    for path, anchor in LINK.findall(text):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(f"{path}#{anchor}" if anchor else path)
    return broken


def missing_paths(text: str) -> list[str]:
    paths = {path.rstrip("./") for path in PATH.findall(text)}
    return sorted(path for path in paths if not any(ROOT.glob(path)))


def missing_files(text: str) -> list[str]:
    """Files named without their whole path: in `beft/`, or where the heading of a table says."""
    missing, folder = [], "beft"
    for line in text.splitlines():
        if heading := re.match(r"\| (?:file|module) (?:in|of) `([\w/]+)/` \|", line):
            folder = heading[1] if (ROOT / heading[1]).is_dir() else f"beft/{heading[1]}"
        elif not line.startswith("|"):
            folder = "beft"
        for name in FILE.findall(line):
            known = name == MADE or any(ROOT.glob(name))
            if not known and not any((ROOT / folder).rglob(name)):
                missing.append(f"{folder}/{name}")
    return missing


def exists(name: str) -> bool:
    """Whether a dotted name can be imported, or is an attribute of what can be."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def missing_names(text: str) -> list[str]:
    dotted = {name for name in NAME.findall(text) if name not in NO_NAMES}
    missing = [name for name in dotted if not exists(name)]
    for name, path in set(NAME_IN_FILE.findall(text)):
        if (ROOT / path).is_file() and not re.search(rf"^{name}\b", _code(path), re.M):
            missing.append(f"{name} in {path}")
    return sorted(missing)


def _code(path: str) -> str:
    """The source of a module, its definitions without the word that begins them."""
    return re.sub(r"^(?:class|def) ", "", (ROOT / path).read_text(), flags=re.M)


def wrong_calls(text: str) -> list[str]:
    """Commands of beft, their options, and targets of make that do not exist."""
    blocks = [line for block in FENCED.findall(text) for line in block.splitlines()]
    wrong = []
    for line in [*blocks, *INLINE.findall(FENCED.sub("", text))]:
        if not (call := CALL.match(line.strip())):
            continue
        program, name, rest = call.groups()
        words = re.split(r" #| -- ", rest)[0].split()
        if program == "make":
            targets = [name, *(word for word in words if "=" not in word)]
            wrong += [f"make {target}" for target in targets if target not in TARGETS]
        elif name not in COMMANDS:
            wrong.append(f"beft {name}")
        else:
            known = {option for p in COMMANDS[name].params for option in p.opts} | {"--help"}
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            wrong += [f"beft {name} {option}" for option in options if option not in known]
    return wrong


@each_page
def test_links_lead_to_files_and_headings(page):
    assert broken_links(page) == []


@each_page
def test_files_exist(page):
    text = page.read_text()
    assert missing_paths(text) + missing_files(text) == []


@each_page
def test_python_names_exist(page):
    assert missing_names(page.read_text()) == []


@each_page
def test_commands_and_options_exist(page):
    assert wrong_calls(page.read_text()) == []


def test_pages_that_code_and_settings_mention_exist():
    folders = ("beft", "benchmarks", "profiles", "slurm", "studies", "workflow")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    texts = [p.read_text() for p in files if p.suffix in (".py", ".yaml", ".smk", ".rst", ".j2")]
    pages = {page for text in texts for page in re.findall(r"docs/\w+\.md", text)}
    assert "docs/statistics.md" in pages
    assert [page for page in sorted(pages) if not (ROOT / page).is_file()] == []


def test_stale_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    headings = "# One `two`: x_y!\n```\n# no heading\n```\n## A\n## A\n"
    page.write_text(f"{headings}[a](#one-two-x_y) [b](#a-1) [c](https://x.org/#y) `[d](code)`\n")
    assert broken_links(page) == []
    page.write_text(f"{headings}[a](#no-heading) [b](gone.md) [c](page.md#a-2)\n")
    assert broken_links(page) == ["#no-heading", "gone.md", "page.md#a-2"]


def test_stale_files_and_names_are_found():
    assert missing_paths("beft/errors.py, beft/gone.py and `tests/unit/*.py`.") == ["beft/gone.py"]
    table = (
        "| file in `beft/engine/` | x |\n| `slots.py`, `gone.py` | x |\n\n`errors.py`, `lost.py`"
    )
    assert missing_files(table) == ["beft/engine/gone.py", "beft/lost.py"]
    text = "`beft.selectors.projection(a, b)`, beft.sif, beft.gone, beft.errors.No, "
    text += "`UserError` in `beft/errors.py`, `Gone` in `beft/errors.py`"
    assert missing_names(text) == ["Gone in beft/errors.py", "beft.errors.No", "beft.gone"]


def test_stale_commands_are_found():
    text = "`beft verify --repair` `beft verify --gone` `beft gone` `make check gone A=b`\n"
    text += "```sh\nbeft recover -- --profile slurm # --gone\nbeft plan --lost # why\n```\n"
    expected = ["beft plan --lost", "beft verify --gone", "beft gone", "make gone"]
    assert wrong_calls(text) == expected


@pytest.mark.parametrize(
    ("table", "named", "count"), [("table1", 2, 12), ("table5", 1, 9)], ids=["encoder", "decoder"]
)
def test_results_in_the_readme_are_those_of_the_reports(table, named, count):
    """Cell by cell: the first number, with its marks."""

    def rows(path: str) -> list[list[str]]:
        text = re.sub("</?u>", "", (ROOT / path).read_text())  # the README has no second best
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    report = rows(f"reports/tables/{table}.md")
    columns = report[0]
    shown = [row for row in rows("README.md") if len(row) == len(columns)]
    start = shown.index(columns) + 1
    by_name = {tuple(r[:named]): r for r in reversed(report)}  # the first model's
    for row in shown[start : start + count + 1]:
        if row[-1] == "---:":
            continue
        whole = by_name[tuple(row[:named])]
        assert row == [*row[:named], *(c.split(" ")[0] for c in whole[named:])]
