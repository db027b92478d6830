"""One page for review: answer first, then tables, figures, runs, problems, settings, provenance."""

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from beft.errors import one_line
from beft.report.analysis import cells as grid
from beft.report.analysis import epochs
from beft.report.analysis.selection import TERMS
from beft.report.figures.registry import CAPTIONS, FIGURES, NARROW
from beft.report.frames.schema import Frames
from beft.report.metrics_json import run_counts
from beft.report.page.circumstances import problems, provenance
from beft.report.page.embed import pack
from beft.report.page.numbers import numbers_of
from beft.report.page.overview import overview
from beft.report.tables.comparisons import ALPHA
from beft.report.tables.formats import to_csv, to_latex, to_markdown
from beft.report.tables.table import Table

SCRIPTS = ("page.js", "page_grid.js", "page_tables.js", "page_chart.js", "page_runs.js")
STATIC_RUNS = 200  # rows of all runs that are there without the script, and on paper
LISTED = (
    *("model", "task", "regime", "technique", "seed", "status", "best", "last", "guessing"),
    *("constant", "metric"),
    *("learning_rate", "epochs", "train_examples", "train_seconds", "peak_memory_mb", "digest"),
)
SVG_SAFE = " !$'()*+,/:;<=>?@[]^`{|}~"  # what need not be quoted in the address of an image
EMBEDDED = ("evaluations", "history", "problems", "provenance")


def render(frames: Frames, tables: dict[str, dict[str, Table]], figures_dir: Path) -> str:
    """The page as one self-contained HTML document.

    Args:
        frames: all of a study, runs included that tables leave out (`cells.shown`).
        tables: the tables to show, by name and epoch (`tables.by_epoch`), in order.
        figures_dir: where the SVG files of the study's figures lie; they are embedded.
    """
    shown = grid.shown(frames)
    names = [n for n in frames.settings.get("figures", list(FIGURES)) if n in FIGURES]
    numbers = {name: numbers_of(name, shown) for name in names}
    style, script = _text("page.css"), "\n".join(map(_text, SCRIPTS))
    return _environment().get_template("page.html.j2").render(
        study=str(frames.settings.get("study", "study")),
        description=str(frames.settings.get("description", "")),
        epochs=grid.EXPLAINED,
        chosen_epoch=epochs.chosen_epoch(frames),
        views={column: overview(shown, column) for column in grid.EXPLAINED},
        level=ALPHA,
        regimes=grid.order(shown, "regime"),
        counts=run_counts(frames),
        one_seed=frames.runs["seed"].nunique() < 2,
        tables=tables,
        figures=[_figure(name, figures_dir, numbers[name], name in tables) for name in names],
        listed=LISTED,
        runs=_listed(frames),
        total=len(frames.runs),
        settings={k: v for k, v in frames.settings.items() if k not in ("study", "description")},
        provenance=provenance(frames),
        problems=problems(frames),
        data=_data(frames, {n: b.data for n, b in numbers.items() if b}),
        texts=_texts(tables),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("beft.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes what could end a script; the order of columns is that of the csv files
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["term"] = _term
    environment.filters["wide"] = _wide
    environment.filters["address"] = address
    environment.filters["brief"] = _brief
    return environment


@cache
def _text(name: str) -> str:
    return resources.files("beft.report.page").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's security policy calls this style or script: nothing else may run."""
    digest = hashlib.sha256(f"\n{text}\n".encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def address(place: Iterable[str]) -> str:
    """Where the runs of a cell open: `#cell=model/task/regime/technique`, empty for any."""
    return "#cell=" + "/".join(quote(part, safe="") for part in place)


def _term(name: str) -> str | Markup:
    """`b_v` set as a letter with an index; any other name as it is."""
    if name in [f"b_{term}" for term in TERMS]:
        return Markup("<i>b</i><sub>{}</sub>").format(name[2:])
    return name


def _wide(heading: str) -> str | Markup:
    """The heading of a column, in two lines where it is a long name of several words."""
    if " " in heading or heading in [f"b_{term}" for term in TERMS]:
        return _term(heading)
    return Markup("<br>").join(heading.split("_", 1))


def _brief(value: object) -> str:
    """A value of a frame in a table for reading: six digits at most, nothing where there is none.

    The script's `brief` writes numbers and booleans in the same way.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    return str(value)


def _figure(name: str, folder: Path, numbers, has_table: bool) -> dict:
    path = folder / f"{name}.svg"
    source = _image(path.read_text(encoding="utf-8")) if path.is_file() else None
    return {
        "name": name,
        "caption": CAPTIONS[name],
        "source": source,
        "narrow": name in NARROW,
        "words": numbers.words if numbers else "",
        "rows": len(numbers.data) if numbers else 0,
        "table": has_table,
    }


def _image(svg: str) -> Markup:
    """A drawing as an address, a third shorter than in base64.

    Places are cut to hundredths of a point, which no screen shows; the file keeps them all.
    """
    cut = re.sub(r'\b(?:d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)
    # nothing is left in it that could end the attribute or begin an entity
    return Markup("data:image/svg+xml," + quote(one_line(cut), safe=SVG_SAFE))


def _listed(frames: Frames) -> list[list]:
    """The first rows of all runs, for readers without the script."""
    table = frames.runs[list(LISTED)].head(STATIC_RUNS).astype(object)
    return table.where(table.notna(), None).values.tolist()


def _data(frames: Frames, figures: dict) -> dict:
    """Everything that the script reads: frames, settings, and the numbers of figures."""
    packed = {name: pack(getattr(frames, name), frames.runs[["digest"]]) for name in EMBEDDED}
    return {
        "listed": LISTED,
        "runs": pack(frames.runs),
        **packed,
        "figures": {name: pack(table) for name, table in figures.items()},
        "settings": frames.settings,
    }


def _texts(tables: dict[str, dict[str, Table]]) -> dict:
    """The text of each table in every format, as its files have it."""
    return {
        name: {
            epoch: {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
            for epoch, table in both.items()
        }
        for name, both in tables.items()
    }
