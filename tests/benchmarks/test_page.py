"""Numbers of the documentation are those of the results on file."""

import re

import pytest
from support import sandbox

from benchmarks import page
from benchmarks.__main__ import DEFAULT

TEMPLATE = sandbox.ROOT / "benchmarks" / page.TEMPLATE
NAMES = ("MiniLM-L6", "bfloat16", "float32")  # that have digits


def test_the_page_is_what_the_results_give():
    assert page.PAGE.read_text() == page.page(), "run: python -m benchmarks docs"


def test_the_readme_claims_what_the_results_give():
    readme = " ".join(page.README.read_text().split())
    (found,) = page.CLAIM.findall(readme)
    assert found == page.claim()


@pytest.mark.parametrize("case", ["one_run_best", "sweep_4x4_two_at_a_time"])
def test_the_readme_claims_no_loss_of_accuracy(case):
    """Both sides differ by chance; cases of fewer than four seeds say nothing."""
    row = page.Results("engine")["by"].get(case)
    assert "no loss of accuracy" in " ".join(page.README.read_text().split())
    assert row is None or row["ours_metric"] >= row["peer_metric"] - 0.01


def test_results_of_parts_that_are_measured_together_are_of_one_commit():
    """Those that say how many cores were idle; older ones do not."""
    results = [page.Results(name) for name in page.FILES if name in DEFAULT and name != "gpu"]
    assert len({found["commit"] for found in results if "idle_cores" in found}) <= 1, "make bench"


def test_the_template_has_no_numbers_of_its_own():
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|`[^`]*`", "", TEMPLATE.read_text(), flags=re.S)
    for name in NAMES:
        text = text.replace(name, "")
    assert [line for line in text.splitlines() if re.search(r"\d", line)] == []


def test_a_section_without_results_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(page.measure, "RESULTS", tmp_path)
    sections = page.page().split("\n## ")
    assert sections[1] == f"Against the peers\n\n{page.LACKING}\n\n".rstrip("\n") + "\n"
    assert len(sections) == TEMPLATE.read_text().count("\n## ") + 1


@pytest.mark.parametrize(
    ("value", "shown"), [(0.7054, "0.71"), (13.0, "13.0"), (1695, "1,695"), (99.96, "100.0")]
)
def test_numbers_have_three_digits(value, shown):
    assert page.number(value) == shown
