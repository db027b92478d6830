"""docs/performance.md and the README's sentence on speed, from results/*.json and a template.

No number of the page has another source. A section whose results are not on file says so.
"""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

from beft.store.files import write_file
from benchmarks import measure
from benchmarks.material import ROOT

TEMPLATE, PAGE, README = "performance.md.j2", ROOT / "docs" / "performance.md", ROOT / "README.md"
LACKING = "Results of this section are not on file: run its part of `python -m benchmarks`."
CLAIM = re.compile(r"[\d.]+ to [\d.]+ times as fast")
# Each is written by a part; the last two by parts that need a GPU. `make bench` leaves `own` out.
FILES = ("engine", "packs", "steps", "few", "own", "decoder", "pipeline", "cluster", "gpu")
FILES += ("memory_gpu",)


class Results(dict):
    """One file of results; `rows` are found by their case, too."""

    def __init__(self, name: str) -> None:
        found = measure.load(name)
        super().__init__(found, name=name, by={row["case"]: row for row in found["rows"]})


def write() -> list[Path]:
    """Writes both; the paths."""
    write_file(PAGE, page().encode())
    write_file(README, CLAIM.sub(claim(), README.read_text(), count=1).encode())
    return [PAGE, README]


def page() -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    environment.filters |= {"number": number, "percent": percent, "hundredths": hundredths}
    results = {name: Results(name) for name in FILES}
    source = environment.loader.get_source(environment, TEMPLATE)[0]
    sections = re.split(r"^(?=## )", source, flags=re.M)
    return "".join(_section(environment, text, results) for text in sections)


def _section(environment: Environment, text: str, results: dict[str, Results]) -> str:
    try:
        return environment.from_string(text).render(results)
    except UndefinedError:
        return f"{text.splitlines()[0]}\n\n{LACKING}\n\n"


def number(value: float, digits: int | None = None) -> str:
    """With so many digits behind the point, or three significant ones; thousands have commas."""
    value = float(value)  # what is not on file has none, and says so
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def percent(value: float) -> str:
    """A share in percent, one digit behind the point."""
    return f"{100 * float(value):.1f}"


def hundredths(value: float | None) -> str:
    """A metric or a difference of two, times 100; empty where there is none."""
    return "" if value is None else percent(value)


def claim() -> str:
    """How much faster than Trainer with PEFT: the least of one run, and the most of a sweep."""
    ratios = {case: row["ratio"] for case, row in Results("engine")["by"].items()}
    least = min(ratios["one_run_fp32"], ratios["one_run_best"])
    return f"{least:.1f} to {ratios['sweep_4x4']:.1f} times as fast"
