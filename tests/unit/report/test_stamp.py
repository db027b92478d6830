"""A file in data/collected names the study that reports/ shows."""

from support import sandbox

from beft.report.stamp import stamp, stamp_flaw
from beft.study.project import load


def test_the_stamp_of_another_study_is_replaced(tmp_path):
    root = sandbox.make(tmp_path / "p")
    sandbox.write(root / "studies" / "other.yaml", {**sandbox.STUDY, "seeds": [9]})
    first, second = load(root / "params.yaml"), load(root / "params.yaml", "other")
    stamp(first)
    stamp(second)
    (path,) = (root / "data" / "collected").iterdir()
    assert path.name == f"{second.fingerprint}.json" and "other" in path.read_text()
    assert stamp_flaw(first) is None and stamp_flaw(second) is None
    path.write_text("{}")
    assert stamp_flaw(second) == path
