"""The names of frames: one list for the code, the rules and DVC."""

import subprocess
import sys
from pathlib import Path

import yaml

from beft.report.frames.columns import COLUMNS, KEYS, MACHINE

ROOT = Path(__file__).parents[4]


def test_dvc_tracks_every_frame():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outputs = [next(iter(out)) for out in stages["reports"]["outs"]]
    assert [Path(out).stem for out in outputs if out.endswith(".csv")] == list(COLUMNS)


def test_shared_columns_are_columns_of_their_frames():
    assert set(KEYS) < set(COLUMNS["runs"])
    assert set(MACHINE) < set(COLUMNS["provenance"])


def test_names_need_no_pandas():
    code = "import sys, beft.report.frames.columns; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
