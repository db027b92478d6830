"""What a plan reads of a workflow profile, and where it looks for one."""

import pytest
from support import sandbox

from beft.errors import UserError
from beft.operations.profile import read_profile


@pytest.mark.parametrize(
    "config", [["study=x"], "study=x", {"study": "x"}, ["other=1", "study = x"]], ids=str
)
def test_a_profile_names_its_study_in_any_of_the_ways(tmp_path, config):
    sandbox.write(tmp_path / "p" / "profile.yaml", {"config": config})
    assert read_profile("p", tmp_path).study == "x"


def test_profiles_are_looked_for_where_the_workflow_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    sandbox.write(tmp_path / "home" / "snakemake" / "p" / "config.yaml", {"jobs": 1})
    assert read_profile("p", tmp_path).jobs == 1
    sandbox.write(tmp_path / "profiles" / "p" / "config.yaml", {"jobs": 2})
    assert read_profile("p", tmp_path).jobs == 2
    sandbox.write(tmp_path / "p" / "config.yaml", {"jobs": 3})
    assert read_profile("p", tmp_path).jobs == 3
    sandbox.write(tmp_path / "p" / "profile.yaml", {"jobs": 4})
    assert read_profile("p", tmp_path).jobs == read_profile("p/profile.yaml", tmp_path).jobs == 4


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (None, "no profile.yaml or config.yaml"),
        ({"jobs": "many"}, "jobs: expected a number"),
        ({"config": ["study"]}, "config: expected name=value"),
        ({"set-resources": {"train": {"gpu": "one"}}}, "set-resources.train.gpu"),
    ],
    ids=str,
)
def test_a_profile_that_cannot_be_used_is_one_clear_line(tmp_path, profile, words):
    if profile is not None:
        sandbox.write(tmp_path / "p" / "profile.yaml", profile)
    with pytest.raises(UserError, match=words):
        read_profile("p", tmp_path)


def test_our_own_profiles_are_understood():
    slurm = read_profile("slurm", sandbox.ROOT)
    assert (slurm.study, slurm.jobs, slurm.gpu) == ("paper", 100, 1)
    local = read_profile("local", sandbox.ROOT)
    assert (local.jobs, local.gpu) == (1, 1)
