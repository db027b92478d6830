"""The page of a call, as of a study: the choice beside finalists of other techniques."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from beft.report import build
from beft.report.frames import schema
from beft.report.frames.collect import collect
from beft.study.project import load
from beft.tuning.candidates import Candidate
from beft.tuning.project import FINAL, Stage, fold_name, write_study


def render_page(
    root: Path, chosen: Candidate, others: Sequence[Candidate], epochs: int, final: int, folds: int
) -> bytes:
    """index.html of the runs of a project of `tune`, which are all there.

    Args:
        others: finalists of other techniques; of runs that differ only in settings, a page shows
            one.
        epochs: of the last round.
        final: epochs of the last training.
        folds: how many there are.
    """
    shown = {chosen.technique: chosen}
    for each in others:
        shown.setdefault(each.technique, each)
    stages = [Stage(fold_name(k), k, epochs, tuple(shown.values())) for k in range(folds)]
    stages.append(Stage(FINAL, 0, final, (chosen,)))
    project = load(root / "params.yaml", str(write_study(root, "report", stages)))
    with TemporaryDirectory(prefix="beft-") as name:
        reports = Path(name) / "reports"
        schema.write(collect(project), reports)
        frames = schema.read(reports)
        build.write_tables(frames, reports)
        build.write_figures(frames, reports)
        return build.write_page(frames, reports).read_bytes()
