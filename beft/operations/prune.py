"""`beft prune`: find and remove the files of data/ that no study names."""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import filesize
from rich.table import Table

from beft.errors import UserError
from beft.operations.ours import is_half_written, is_log, is_made, is_work
from beft.store.files import remove
from beft.store.locks import HEARTBEAT, PATIENCE, Lock, claimed, lock
from beft.store.owners import living
from beft.study.layout import Folder, Layout
from beft.study.project import Project

log = logging.getLogger(__name__)

# Folder of data/ -> levels from it to a run or file. The mirror is never pruned.
DEPTHS: dict[Folder, int] = {
    "runs": 6,
    "packs": 4,
    "scores": 4,
    "timings": 4,
    "merges": 3,
    "subsets": 4,
}
DEPTHS |= {"sources": 2, "models": 2}
LOGS: dict[str, Folder] = {
    **{"train": "packs", "score": "scores", "subsample": "subsets"},
    **{"time": "timings", "merge": "merges", "fetch": "sources", "fetch_model": "models"},
}


@dataclass(frozen=True)
class Thing:
    """A file or folder of one project."""

    kind: str  # runs, packs, ..., logs, work, links, others
    owner: str  # its model or task, the path of a link, the folder of others; empty if none
    path: Path
    named: bool  # whether a study still names it, or it is not known to be of this project

    def size(self) -> int:
        """Bytes of all files; of a link, not of what lies behind it."""
        whole = self.path.is_dir() and not self.path.is_symlink()
        files = self.path.rglob("*") if whole else [self.path]
        return sum(f.lstat().st_size for f in files if f.is_symlink() or not f.is_dir())


def run_folders(layout: Layout) -> list[Path]:
    """Every run of a project, named by a study or not."""
    return list(_below(layout.folder("runs"), DEPTHS["runs"], []))


def things(projects: list[Project]) -> list[Thing]:
    """Every file and folder in data/ and logs/, and whether it stays.

    What this project did not write, to judge by its name, stays; so does what a study names.

    Raises:
        UserError: when a run that no study names is being trained, because the files that it
            needs are unknown.
    """
    layout = projects[0].layout
    for folder in (layout.data, layout.folder("work")):
        if folder.is_symlink():
            raise UserError(
                f"{folder}: a link, so others may share it, whose studies cannot be seen from "
                "here; prune where it lies, with everybody's studies in studies/"
            )
    named: dict[Folder, set[str]] = {kind: set() for kind in DEPTHS}
    for project in projects:
        named["runs"] |= {r.folder() for r in project.recipes}
        named["packs"] |= set(project.packs)
        named["scores"] |= {key for cell in project.cells.values() for key in cell.files()}
        named["timings"] |= set(project.timings)
        named["merges"] |= set(project.merges)
        named["subsets"] |= set(project.subsets)
        named["sources"] |= set(project.sources())
        named["models"] |= set(project.models())
    recipes = {r.digest: r for project in projects for r in project.recipes}
    held = _held(layout)
    for digest, owner in held.items():
        if digest not in recipes:
            raise UserError(
                f"{layout.work(digest)}: what no study in studies/ names is being made by "
                f"{owner}; wait for it or stop it, then prune"
            )
    unfinished = {d for d, recipe in recipes.items() if not layout.run(recipe).exists()}
    links: list[Path] = []
    found = [thing for kind in DEPTHS for thing in _made(layout, kind, named[kind], links)]
    found += [*_logs(layout, named, links), *_work(layout, {*unfinished, *held}, links)]
    found += [] if held else _half_written(layout, links)
    gone = {thing.path for thing in found if not thing.named}
    alone = [path for path in dict.fromkeys(links) if gone.isdisjoint(path.parents)]
    return found + [Thing("links", str(p.relative_to(layout.root)), p, True) for p in alone]


def overview(projects: list[Project], found: list[Thing]) -> Table:
    """A table of what would be removed and what would stay: number and size."""
    table = Table(title=f"named by none of {len({p.name for p in projects})} studies")
    for column in ("kind", "model or task"):
        table.add_column(column)
    for column in ("number", "size", "stay", "their size"):
        table.add_column(column, justify="right")
    for kind, owner in dict.fromkeys((thing.kind, thing.owner) for thing in found):
        part = [thing for thing in found if (thing.kind, thing.owner) == (kind, owner)]
        table.add_row(kind, owner, *_weigh(part, named=False), *_weigh(part, named=True))
    return table


def _weigh(things: list[Thing], named: bool) -> tuple[str, str]:
    sizes = [thing.size() for thing in things if thing.named == named]
    return str(len(sizes)), filesize.decimal(sum(sizes))


def _below(folder: Path, levels: int, links: list[Path]) -> Iterator[Path]:
    """Everything that many levels below a folder; links are not followed but added to `links`."""
    if folder.is_symlink():
        links.append(folder)
    elif levels == 0:
        yield folder
    elif folder.is_dir():
        for path in sorted(folder.iterdir()):
            yield from _below(path, levels - 1, links)


def _files(folder: Path, links: list[Path]) -> Iterator[Path]:
    """All files below a folder, and folders that were not finished; links likewise."""
    if folder.is_symlink():
        links.append(folder)
    elif folder.is_dir() and folder.suffix != ".tmp":
        for path in sorted(folder.iterdir()):
            yield from _files(path, links)
    elif folder.exists():
        yield folder


def _made(layout: Layout, kind: Folder, named: set[str], links: list[Path]) -> Iterator[Thing]:
    base = layout.folder(kind)
    for path in _below(base, DEPTHS[kind], links):
        if not path.name.startswith("."):
            key = path.relative_to(base).as_posix()
            if key in named or is_made(kind, key, path):
                yield Thing(kind, key.partition("/")[0], path, key in named)
            else:
                yield _others(path, base)


def _others(path: Path, base: Path) -> Thing:
    """What somebody else put there; it stays."""
    return Thing("others", f"{base.parent.name}/{base.name}", path, True)


def prune(layout: Layout, gone: list[Thing]) -> None:
    """Removes things, and folders that are empty afterwards.

    Raises:
        UserError: when one cannot be removed, or when its training has begun meanwhile.
    """
    for thing in gone:
        if thing.kind == "runs":
            with lock(layout.work(thing.path.name)):
                remove(thing.path)
        else:
            remove(thing.path)
        parent = thing.path.parent
        while parent.parent != layout.root and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent


def _held(layout: Layout) -> dict[str, str]:
    """Digest -> owner of the lock, of each run that is being trained; releases dead locks."""
    work = _below(layout.folder("work"), 1, [])
    folders = [path for path in work if any(path.glob("lock.*"))]
    locks = {folder.name: Lock(folder) for folder in folders}
    with claimed(locks) as found:
        pass
    seen = {str(owner) for owner in living(layout.folder("work"))}
    if found and not seen.issuperset(found.values()):
        log.info("waiting a minute to see whether those who train on other machines are alive")
        time.sleep(PATIENCE + HEARTBEAT)
        with claimed(locks) as found:
            pass
    return found


def _logs(layout: Layout, named: dict[Folder, set[str]], links: list[Path]) -> Iterator[Thing]:
    for base in _below(layout.root / "logs", 1, links):
        if base.name not in LOGS:
            continue
        known = {os.path.splitext(key)[0] for key in named[LOGS[base.name]]}  # noqa: PTH122
        for path in _files(base, links):
            key = path.relative_to(base)
            if is_log(LOGS[base.name], key.as_posix()):
                yield Thing("logs", key.parts[0], path, key.with_suffix("").as_posix() in known)
            else:
                yield _others(path, base)


def _work(layout: Layout, needed: set[str], links: list[Path]) -> Iterator[Thing]:
    """Checkpoints and folders that were set aside; named if one of the `needed` runs uses them."""
    for path in _below(layout.folder("work"), 1, links):
        owners = _owners(path) if path.name.startswith("group-") else [path.name]
        if is_work(path.name):
            yield Thing("work", "", path, not needed.isdisjoint(owners))
        else:
            yield _others(path, path.parent)


def _half_written(layout: Layout, links: list[Path]) -> Iterator[Thing]:
    """Temporary files of killed processes; call it only while no process writes."""
    folders = [layout.folder(kind) for kind in DEPTHS]
    for folder in (*folders, layout.folder("collected"), layout.root / "reports"):
        for path in _files(folder, links):
            if is_half_written(path.name):
                yield Thing("half-written", "", path, False)


def _owners(group: Path) -> list[str]:
    """The digests of the runs in a checkpoint; none if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        (checkpoint,) = group.glob("*.safetensors")
        with safe_open(checkpoint, "np") as file:
            return file.metadata()["digests"].split()
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return []
