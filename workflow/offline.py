"""Puts into a page of `dvc plots` the scripts that it would load, those that come with snakemake.

python workflow/offline.py dvc_plots/index.html
"""

import re
import sys
from importlib.resources import files
from pathlib import Path

LOADED = re.compile(r'<script src="https://[^"]*/(vega(?:-lite|-embed)?)@[^"]*"></script>')


def embed(page: str) -> str:
    """The page with each such script in place of the address from which it would be loaded."""
    assets = files("snakemake.assets") / "data"

    def script(found: re.Match) -> str:
        name = found[1]
        return f"<script>{(assets / name / f'{name}.js').read_text(encoding='utf-8')}</script>"

    return LOADED.sub(script, page)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(embed(path.read_text(encoding="utf-8")), encoding="utf-8")
