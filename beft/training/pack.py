"""A pack job: skips sound runs, resumes half done ones, trains the rest, writes the manifest."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from beft.code_identity import code_digest
from beft.errors import UserError
from beft.store.failures import forget_failure
from beft.store.files import sweep
from beft.store.locks import Lock, alone, claimed
from beft.store.manifest import entry, write_manifest
from beft.store.run_folder import open_run
from beft.study.identity import digest
from beft.study.layout import Layout
from beft.study.recipe import Pack
from beft.techniques import TECHNIQUES
from beft.training import provenance
from beft.training.gradient_files import probe_inert
from beft.training.groups import Job
from beft.training.inputs import current_inputs
from beft.training.shared import Loader

log = logging.getLogger(__name__)


def run_pack(
    layout: Layout,
    pack: Pack,
    manifest: Path,
    device: str = "cpu",
    checkpoint_seconds: float = 60,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Makes sure that every run of a pack is there, and writes the pack's manifest.

    Waits for runs that other processes are training.

    Args:
        progress: called with (steps done, steps in all, description).

    Raises:
        UserError: an input is missing or differs from that of earlier runs; a run cannot be
            written.
        Interrupted: after SIGTERM or SIGINT; the checkpoint is written.
    """
    # The commit is read and cached now, before anybody can edit the code.
    provenance.commit(layout.root)
    inputs = current_inputs(layout, pack.recipes[0])
    _check_listed(layout, pack, manifest)
    origin = digest([code_digest(), inputs])
    loader = Loader(layout, device)
    with _stop_signals() as stop:
        inert = _inert_runs(loader, pack)
        recipes = {r.digest: r for r in pack.recipes if r.digest not in inert}
        job = Job(loader, recipes, inputs, origin, checkpoint_seconds, stop, progress)
        locks = {d: Lock(layout.work(r.digest)) for d, r in recipes.items() if job.flaw(r)}
        while locks:
            with claimed(locks) as others:
                job.bring({d: held for d, held in locks.items() if d not in others})
            locks = {d: locks[d] for d in others if job.flaw(recipes[d])}
            job.wait({d: others[d] for d in locks})
        entries = []
        for recipe in pack.recipes:
            if recipe.digest in inert:
                entries.append(entry(recipe, "skipped", inert[recipe.digest]))
            else:
                run = open_run(layout, recipe)
                forget_failure(run.work)
                status, reason = run.metrics["status"], run.metrics["reason"]
                entries.append(entry(recipe, status, reason, run.checksum))
        with alone(layout.work(f"pack-{manifest.stem}")):
            sweep(manifest)
            write_manifest(manifest, entries, pack.skip_inert)


def _check_listed(layout: Layout, pack: Pack, manifest: Path) -> None:
    """Checks that no sound run is another than the one that an earlier manifest was written for.

    A new manifest would fit it, and nobody could tell any more.
    """
    for recipe in pack.recipes:
        run = open_run(layout, recipe, manifest, quick=True)
        if run.is_written and not run.flaw and not run.foreign and run.unsound:
            raise UserError(f"{run.folder}: {run.unsound}")


def _inert_runs(loader: Loader, pack: Pack) -> dict[str, str]:
    """Digest -> reason, of the runs to leave out because their term is inert."""
    single = [r for r in pack.recipes if pack.may_skip(r)]
    if not single:
        return {}
    inert = probe_inert(loader, single[0])
    found = {}
    for recipe in single:
        term = TECHNIQUES[recipe.technique].term
        if term in inert:
            log.info("%s seed %d left out: %s", recipe.technique, recipe.seed, inert[term])
            found[recipe.digest] = inert[term]
    return found


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that returns True after SIGTERM or SIGINT; the training loop calls it."""
    received: list[int] = []
    previous = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):  # not the main thread: the caller handles signals
            previous[number] = signal.signal(number, lambda n, frame: received.append(n))
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
