"""Every folder of `data/` has a name in one module."""

from pathlib import Path
from typing import get_args

from support import sandbox

from beft.study.layout import Folder, Layout
from beft.study.project import load
from beft.tuning.place import Place

LAYOUT = Layout(Path("root"))


def test_files_lie_in_the_folder_of_their_kind(tmp_path):
    study = sandbox.STUDY | {"timing": [], "techniques": ["all_biases"]}
    made = load(sandbox.make(tmp_path / "p", study=study) / "params.yaml")
    recipe = made.recipes[0]
    found = {
        "runs": LAYOUT.run(recipe),
        "sources": LAYOUT.source(recipe),
        "subsets": LAYOUT.subset(recipe),
        "models": LAYOUT.model(recipe),
        "packs": LAYOUT.pack(made.pack_of(recipe)),
        "scores": LAYOUT.scores("m/t/low/x.csv"),
        "timings": LAYOUT.timing("m/t/low/x.json"),
        "merges": LAYOUT.merge("m/low/x.json"),
        "work": LAYOUT.work(recipe.digest),
        "own": Place(Path("root/params.yaml"), "mine").rows("mine-fold-1"),
        "mirror": LAYOUT.mirror / "models",
        "collected": LAYOUT.folder("collected") / "x.json",
    }
    assert set(found) == set(get_args(Folder))
    for kind, path in found.items():
        assert path.is_relative_to(Path("root") / "data" / kind)


def test_no_other_module_spells_a_path_below_data():
    package = Path(__file__).parents[3] / "beft"
    spelled = [f'data / "{kind}"' for kind in get_args(Folder)]
    spelled += [f'"data" / "{kind}"' for kind in get_args(Folder)]
    for path in package.rglob("*.py"):
        found = [text for text in spelled if text in path.read_text()]
        assert not found, f"{path}: use beft.study.layout"
