# Resolves the study, once, before any other rules are read.
#
# Defines PROJECT (the resolved study) and the lists of files that the other rules make. Settings
# come only from params.yaml and studies/. The command line may choose nothing but `study`, so
# every setting that affects a number is recorded in a file.

import os
import sys
from pathlib import Path

from beft.operations.cost import Costs
from beft.operations.demand import demand_of
from beft.code_identity import report_digest
from beft.errors import UserError
from beft.report.frames.columns import COLUMNS
from beft.study.project import load_for_workflow
from beft.study.recipe import Pack

# Rules call the `beft` beside this interpreter, whether or not its environment is activated.
PROGRAMS = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
os.environ.update(PATH=os.pathsep.join(PROGRAMS))


def load_project():
    try:
        return load_for_workflow(Path("params.yaml"), config)
    except UserError as error:
        print(f"beft: {error}", file=sys.stderr)
        sys.exit(2)


PROJECT = load_project()
config["study"] = PROJECT.given
EXECUTION = PROJECT.params.execution
COSTS = Costs(PROJECT)
REPORT_CODE = report_digest()
SOURCES = [f"data/sources/{path}/source.json" for path in PROJECT.sources()]
SUBSETS = [f"data/subsets/{path}" for path in PROJECT.subsets]
MANIFESTS = [f"data/packs/{path}" for path in PROJECT.packs]
SCORES = [f"data/scores/{path}" for cell in PROJECT.cells.values() for path in cell.files()]
TIMINGS = [f"data/timings/{path}" for path in PROJECT.timings]
MERGES = [f"data/merges/{path}" for path in PROJECT.merges]
FRAMES = list(COLUMNS)


def study(wildcards, output):
    """Returns the study's name. The argument `output` makes snakemake treat it as derived, so
    that a pack does not run again when another study contains it too."""
    return str(config["study"])


def source_of_subset(wildcards):
    key = f"{wildcards.task}/{wildcards.regime}/seed-{wildcards.seed}/{wildcards.digest}.parquet"
    return f"data/sources/{PROJECT.subsets[key].source_path()}/source.json"


def key_of(wildcards, suffix=".json"):
    """Returns the key in PROJECT of a pack, cell, timing or merge: its path below its folder."""
    folders = [wildcards.get(name) for name in ("model", "task", "regime")]
    return str(Path(*filter(None, folders), f"{wildcards.digest}{suffix}"))


def pack_of(wildcards):
    return PROJECT.packs[key_of(wildcards)].recipes


def request_of_pack(wildcards):
    """Returns memory and time that the pack's job requests; `execution:` sets the minimum."""
    return demand_of(COSTS, PROJECT.packs[key_of(wildcards)])


def device(wildcards, resources):
    """Returns the device to train on. The argument `resources` makes snakemake treat it as
    derived, so that a pack does not run again when `--set-resources train:gpu=1` or a profile
    moves it to a GPU."""
    return "auto" if resources.gpu else "cpu"


def manifests_of_cell(wildcards):
    recipes = PROJECT.cells[key_of(wildcards, ".csv")].runs
    return sorted({f"data/packs/{PROJECT.pack_of(recipe)}" for recipe in recipes})


def timed(wildcards):
    return PROJECT.timings[key_of(wildcards)]


def request_of_timing(wildcards):
    """Returns the memory of the largest run, and the minutes of all runs together."""
    entry = timed(wildcards)
    memory = max(demand_of(COSTS, Pack((r,), False)).memory_mb for r in entry.recipes)
    every = Pack(entry.recipes * entry.repeats, False)
    return memory, demand_of(COSTS, every).runtime_minutes


def threads_of_a_run(wildcards, threads):
    """The argument `threads` makes snakemake treat it as derived: with more cores, nothing is
    timed again."""
    return min(threads, EXECUTION.threads)


def merged(wildcards):
    return PROJECT.merges[key_of(wildcards)]


def manifests_of_merge(wildcards):
    recipes = merged(wildcards).recipes()
    return sorted({f"data/packs/{PROJECT.pack_of(recipe)}" for recipe in recipes})


def request_of_merge(wildcards):
    first = merged(wildcards).couples[0].tuned[0]
    return demand_of(COSTS, Pack((first,), False))


wildcard_constraints:
    model="[^/]+",
    task="[^/]+",
    regime="low|medium|high|all",
    seed=r"\d+",
    digest="[0-9a-f]{16}",
