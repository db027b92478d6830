"""YAML files as mappings."""

import pytest

from beft.study.settings import Overrides
from beft.study.yaml_file import read_yaml


def test_merge_keys_may_repeat_what_they_override(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "0.001", "'0.001'"])
def test_a_number_is_a_number_however_it_is_written(tmp_path, written):
    """YAML 1.1 takes 1e-3 for text; nobody who writes it means text."""
    path = tmp_path / "x.yaml"
    path.write_text(f"learning_rate: {written}\n")
    assert Overrides(**read_yaml(path)).learning_rate == 0.001
