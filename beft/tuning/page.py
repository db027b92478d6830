"""The page of a call, as of a study: the choice beside finalists of other techniques."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from beft.report import build
from beft.report.frames import schema
from beft.report.frames.collect import collect
from beft.study.project import load
from beft.tuning.candidates import Candidate
from beft.tuning.project import write_step
from beft.tuning.subject import Subject


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
        schema.write(collect(project), reports)
        frames = schema.read(reports)
        build.write_tables(frames, reports)
        build.write_figures(frames, reports)
        return build.write_page(frames, reports).read_bytes()
