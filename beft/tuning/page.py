"""The page of a call, as of a study: the choice beside finalists of other techniques."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from beft.report import build
from beft.report.frames import schema
from beft.report.frames.collect import collect
from beft.study.project import load
from beft.tuning.candidates import Candidate
from beft.tuning.project import write_step
from beft.tuning.subject import Subject

ABOUT = (
    "The best ways to tune, on the rows that each fold holds out, and the chosen one on the test "
    "rows (the last column). Each run is shown at its own best or last epoch; README.md in the "
    "same folder has the numbers that the choice was made by, at one epoch for all folds."
)
# What a study has and this folder has not: an answer of selectors, and files beside the page.
ABSENT = (
    r'<section aria-labelledby="answer">.*?</section>\n?',
    r'<section class="table"(?:(?!</section>).)*No run belongs in this table yet.*?</section>\n?',
    r'<li><a href="#answer">.*?</li>',
    r'<p class="quiet files">.*?</p>\n?',
    r" Files: <a href=.*?</a>\.",
)


def render_page(
    subject: Subject, chosen: Candidate, others: Sequence[Candidate], epochs: int, final: int
) -> bytes:
    """index.html of the runs of a project of `tune`, which are all there.

    Args:
        others: finalists of other techniques; of runs that differ only in settings, a page shows
            one.
        epochs: of the last round.
        final: epochs of the last training.
    """
    shown = {chosen.technique: chosen}
    for each in others:
        shown.setdefault(each.technique, each)
    stages = [subject.fold(k, epochs, shown.values()) for k in range(subject.folds)]
    stages.append(subject.last(final, chosen))
    project = load(subject.place.params, str(write_step(subject, "report", stages)))
    with TemporaryDirectory(prefix="beft-") as name:
        reports = Path(name) / "reports"
        frames = collect(project)
        told = frames.settings | {"description": ABOUT}
        schema.write(replace(frames, settings=told), reports)
        frames = schema.read(reports)
        build.write_tables(frames, reports)
        build.write_figures(frames, reports)
        page = build.write_page(frames, reports).read_text(encoding="utf-8")
    return without_absent(page).encode()


def without_absent(page: str) -> str:
    """The page without the parts of a study's page that would be empty or lead nowhere."""
    for part in ABSENT:
        page = re.sub(part, "", page, flags=re.DOTALL)
    page = page.replace('href="#answer">Skip to the answer', 'href="#tables">Skip to the tables')
    return page.replace("Which bias term to tune</h1>", "How the ways to tune compare</h1>")
