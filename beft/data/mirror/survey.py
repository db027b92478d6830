"""Ask the hub what a fetch would bring, before anything of it is fetched: sizes, terms, room."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beft.data.mirror.fetch import dataset_order, model_order
from beft.data.mirror.lookup import mirrors
from beft.data.mirror.order import Order
from beft.data.mirror.staging import staging_folder
from beft.data.mirror.transfers import ask_all
from beft.errors import UserError
from beft.study.grid import task_source
from beft.study.project import Project

GB = 1e9


@dataclass(frozen=True)
class Survey:
    """What a fetch would bring, by the keys of params.yaml."""

    orders: dict[str, Order]
    refused: dict[str, str]  # one line for each that cannot be fetched
    download: int  # bytes that are still to be downloaded
    room: int  # bytes of disk that are still needed
    free: int  # bytes of disk that are free for the mirror

    def __str__(self) -> str:
        return (
            f"{len(self.orders)} to fetch: {self.download / GB:.3f} GB to download, "
            f"{self.room / GB:.3f} GB of disk needed, {self.free / GB:.3f} GB free"
        )


def survey(project: Project, wanted: Iterable[str]) -> Survey:
    """Asks for what is missing of these datasets and models, several at once.

    Args:
        wanted: keys of params.yaml: `tasks.NAME` or `models.NAME`.
    """
    answers = ask_all({key: partial(_order, project, key) for key in wanted})
    orders = {key: order for key, order in answers.items() if isinstance(order, Order)}
    refused = {key: str(error) for key, error in answers.items() if isinstance(error, UserError)}
    download = room = 0
    for order in orders.values():
        staging = staging_folder(project.root, order.piece)
        download += order.left(staging)
        room += max(0, order.room - _size(staging))
    return Survey(orders, refused, download, room, _free(mirrors(project.root)[-1]))


def check_room(project: Project, found: Survey) -> None:
    """Refuses to begin what would fill the disk.

    Raises:
        UserError: if less is free than is needed.
    """
    if found.room > found.free:
        raise UserError(
            f"{mirrors(project.root)[-1]}: {found.room / GB:.3f} GB are needed to fetch "
            f"{len(found.orders)} datasets and models, and {found.free / GB:.3f} GB are free; make "
            "room, put data/ on a larger disk, or fetch fewer with --task and --model"
        )


def _order(project: Project, key: str) -> Order | None:
    kind, _, name = key.partition(".")
    root, params = project.root, project.params
    if kind == "models":
        return model_order(root, name, params.models[name])
    task = params.tasks[name]
    if task.hub is None:
        return None
    return dataset_order(root, name, task, task_source(name, task, root)["splits"])


def _size(folder: Path) -> int:
    """The bytes of all files below a folder; another fetch may be writing there."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return size


def _free(mirror: Path) -> int:
    """The bytes that are free where a mirror is, or will be."""
    folder = next(path for path in (mirror, *mirror.parents) if path.exists())
    return shutil.disk_usage(folder).free
