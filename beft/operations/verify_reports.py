"""`beft verify`: the reports are those that the runs give."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from beft.operations.problem import Problem
from beft.report.build import files_of, write_page, write_tables
from beft.report.frames import schema
from beft.report.frames.collect import Facts, collect
from beft.report.stamp import stamp_flaw
from beft.store.files import CHECKSUMS, flaws
from beft.study.project import Project


def sealed(project: Project) -> Iterator[Problem]:
    """Checks the files of reports/ against their checksums."""
    reports = project.root / "reports"
    for name, problem in flaws(reports):
        line = f"{reports / name}: {problem.removeprefix(f'{name} ')}; run 'beft report'"
        # Without checksums, nothing tells which files are sound.
        unknown = files_of(project.study.tables, project.study.figures) if name == CHECKSUMS else ()
        yield Problem(line, (reports / name, *(reports / file for file in unknown)))
    if stamp := stamp_flaw(project):
        yield Problem(f"{stamp}: damaged", (stamp,))


def reports(project: Project, facts: Mapping[str, Facts], damaged: list[Path]) -> Iterator[Problem]:
    """Makes frames, tables, metrics.json and the page again from the runs, and compares them.

    Figures are not drawn again, because fonts and versions change them. The page contains them,
    so it is compared only if none of them is among the `damaged` files.
    """
    folder = project.root / "reports"
    figures = folder / "figures"
    with tempfile.TemporaryDirectory() as name:
        expected = Path(name)
        schema.write(collect(project, facts), expected)
        read = schema.read(expected)
        write_tables(read, expected)
        if figures.is_dir() and all(figures not in path.parents for path in damaged):
            shutil.copytree(figures, expected / "figures")
            write_page(read, expected)
        for file in files_of(project.study.tables, project.study.figures):
            path = folder / file
            if not path.is_file() or (
                (expected / file).is_file() and path.read_bytes() != (expected / file).read_bytes()
            ):
                yield Problem(f"{path}: not what the runs say; run 'beft report'", (path,))
