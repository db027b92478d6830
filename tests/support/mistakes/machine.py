"""What goes wrong between runs: disks, other processes, commands in the wrong order, damage."""

import errno
import shutil

from support import planted
from support.mistakes.inputs import FETCH_MODEL, FETCH_TASK, package
from support.planted import (
    Case,
    Place,
    Plant,
    failing,
    nothing,
    remove,
    study,
    text,
    then,
    truncate,
)

NO_SPACE, READ_ONLY = failing("fsync", errno.ENOSPC), failing("fsync", errno.EROFS)
NEW_SEED = study("seeds", to=[1])
NEW_RUN = then(NEW_SEED, lambda place: place.beft("subsample", place.path("subsets")))


def no_runs_folder(place: Place) -> None:
    shutil.rmtree(place.folder / "data" / "runs")
    (place.folder / "data" / "runs").touch()


MACHINE = [
    *(
        Case(f"{name}, {command.split()[0]}", then(prepare, plant), command, (words, reason))
        for name, plant, reason in [
            ("no space", NO_SPACE, "No space left"), ("read-only", READ_ONLY, "Read-only"),
        ]
        for prepare, command, words in [
            (remove("data/sources"), FETCH_TASK, "data/"),
            (remove("data/models"), FETCH_MODEL, "data/models"),
            (remove("data/subsets"), "subsample {subset}", "data/subsets"),
            (NEW_RUN, "train {pack}", "data/"),
            (remove("data/scores"), "score {scores}", "data/scores"),
            (nothing, "collect", "reports"),
            (nothing, "schema", "schema"),
            (package(), FETCH_MODEL, "data/mirror"),
        ]
    ),
    Case("no space for the lock", then(NEW_RUN, failing("pwrite", errno.ENOSPC)), "train {pack}",
         ("data/work", "No space left")),
    Case("results folder is a file", no_runs_folder, "train {pack}",
         ("data/runs: ", "a file lies where a folder belongs; remove it")),
    Case("reports folder is a file", text("reports", ""), "collect", ("reports", "written")),
]  # fmt: skip

OTHER = "data/{}/tiny/mine/low/0123456789abcdef.{}"
ORDER = [
    Case("unknown command", nothing, "plna", ("'plna'", "'plan'")),
    Case("unknown option", nothing, "plan --stuyd x", ("--stuyd", "--study")),
    Case("argument missing", nothing, "train", ("manifest",)),
    Case("unknown task", nothing, "fetch --task mnie", ("'mnie'", "'mine'")),
    Case("unknown model", nothing, "fetch --model tinny", ("'tinny'", "'tiny'")),
    Case("no such pack", nothing, f"train {OTHER.format('packs', 'json')}", ("'mini'",)),
    Case("no such scores", nothing, f"score {OTHER.format('scores', 'csv')}", ("'mini'",)),
    Case("no such subset", nothing, "subsample elsewhere.parquet", ("elsewhere", "'mini'")),
    Case("no frames", nothing, "tabulate", ("reports",)),
    Case("data not fetched", then(NEW_RUN, remove("data/sources")), "train {pack}",
         ("data/sources", "missing", "'beft fetch --task mine'")),
    Case("data not fetched", remove("data/sources"), "subsample {subset}",
         ("data/sources", "missing", "'beft fetch --task mine'")),
    Case("model not fetched", then(NEW_RUN, remove("data/models")), "train {pack}",
         ("data/models", "missing", "'beft fetch --model tiny'")),
    Case("subset not drawn", NEW_SEED, "train {pack}", ("data/subsets", "missing")),
]  # fmt: skip


def damage_source(place: Place) -> None:
    (file,) = (place.folder / "data" / "sources" / "mine").glob("*/train.parquet")
    planted.truncate(str(file.relative_to(place.folder)))(place)


def damage_subset(place: Place) -> None:
    truncate(place.path("subsets"))(place)


def flip(name: str) -> Plant:
    """Changes one byte of a file of the finished run of `all_biases`."""

    def plant(place: Place) -> None:
        file = place.run("all_biases") / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    return plant


def of_another_model(place: Place) -> None:
    """The snapshot of a model with one layer instead of two, whole and readable."""
    from safetensors.numpy import load_file, save_file

    file = place.run("all_biases") / "biases.safetensors"
    save_file({key: value[:1].copy() for key, value in load_file(file).items()}, file)


def of_another_run(place: Place) -> None:
    """Another run's folder under this run's name: whole, sound, and of another recipe."""
    folder = place.run("all_biases")
    shutil.rmtree(folder)
    shutil.copytree(place.run("untuned"), folder)


RESULTS = [
    Case("damaged source", then(NEW_RUN, damage_source), "train {pack}",
         ("data/sources", "train.parquet is damaged", "'beft fetch --task mine'")),
    Case("damaged subset", then(NEW_RUN, damage_subset), "train {pack}",
         ("data/subsets", "parquet")),
    Case("damaged snapshot", flip("biases.safetensors"), "score {scores}",
         ("all_biases", "biases.safetensors is damaged", "verify")),
    Case("snapshot of another model", of_another_model, "score {scores}",
         ("all_biases", "biases.safetensors is damaged", "verify")),
    Case("another run's folder", of_another_run, "score {scores}",
         ("all_biases", "recipe.json is not the recipe")),
    Case("damaged recipe", flip("recipe.json"), "score {scores}", ("all_biases", "recipe.json")),
    Case("run lost", lambda place: shutil.rmtree(place.run("untuned")), "score {scores}",
         ("untuned", "missing")),
]  # fmt: skip

CASES = [*MACHINE, *ORDER, *RESULTS]
