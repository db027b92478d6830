"""How sure the numbers of a study are: intervals of cells, comparisons of techniques."""

import pandas as pd

from beft.project import Project
from beft.report.frames import frame


def collect(project: Project) -> dict[str, pd.DataFrame]:
    """The frames `intervals` and `comparisons`."""
    return {name: frame(name, []) for name in ("intervals", "comparisons")}
