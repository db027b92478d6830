"""A pack job: skip what is sound, resume what is half done, train the rest, write the manifest."""

import datetime
import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft import provenance
from beft.adapters import added_numbers
from beft.bench import Bench, check_inputs, current_inputs, gradients_file, probe_inert
from beft.decoders.models import Decoder
from beft.engine import engine, groups, packs_together, serves
from beft.evaluate import lowered
from beft.hashing import sha256
from beft.models import Encoder
from beft.numerics import code_digest
from beft.padded import parts_of
from beft.recipe import Pack, Recipe, digest
from beft.results import run_files
from beft.store import (
    CHECKSUMS,
    Layout,
    lock,
    read_json,
    run_flaw,
    set_aside,
    to_json,
    write_file,
    write_folder,
)
from beft.techniques import TECHNIQUES
from beft.train import CHECKPOINT, Control, Data, Interrupted, checkpoint_digests, train

log = logging.getLogger(__name__)


def run_pack(
    layout: Layout,
    pack: Pack,
    manifest: Path,
    device: str = "cpu",
    checkpoint_seconds: float = 60,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Brings every run of a pack into being and writes the manifest that says so.

    Args:
        progress: called with (steps done, steps in all, what is going on).

    Raises:
        UserError: when an input is missing or is not what earlier runs were trained on, when a
            run cannot be written, or when another process is training it.
        Interrupted: after SIGTERM or SIGINT; the checkpoint is written.
    """
    # Where every number of this process comes from, read before anybody can edit it meanwhile.
    provenance.commit(layout.root)
    inputs = current_inputs(layout, pack.recipes[0])
    origin = digest([code_digest(), inputs])
    bench = Bench(layout, device, {}, {})
    with _stop_signals() as stop, ExitStack() as locks:
        inert = _inert_runs(bench, pack)
        recipes = [r for r in pack.recipes if r.digest not in inert]
        for recipe in recipes:
            locks.enter_context(lock(layout.work(recipe)))
        todo = {r.digest for r in recipes if not _is_done(layout, recipe=r, inputs=inputs)}
        if todo:
            job = _Job(bench, inputs, origin, todo, checkpoint_seconds, stop, progress)
            flat = any(packs_together(r) for r in recipes) and serves(
                bench.model(recipes[0]), device
            )
            begun = job.begun(recipes)
            started = {r.digest for group in begun for r in group}
            rest = [r for r in recipes if r.digest in todo - started]
            for group in (*begun, *groups(rest, flat, device)):
                job.train(group, flat)
        entries = []
        for recipe in pack.recipes:
            if recipe.digest in inert:
                entries.append(_entry(recipe, "skipped", inert[recipe.digest], None))
            else:
                folder = layout.run(recipe)
                metrics = read_json(folder / "metrics.json")
                reason = metrics["reason"]
                entries.append(_entry(recipe, metrics["status"], reason, folder / CHECKSUMS))
        write_file(manifest, to_json({"runs": entries, "skip_inert": pack.skip_inert}))
        for recipe in recipes:
            shutil.rmtree(layout.work(recipe), ignore_errors=True)


def _entry(recipe: Recipe, status: str, reason: str, checksums: Path | None) -> dict[str, Any]:
    return {
        "digest": recipe.digest,
        "folder": recipe.folder(),
        "status": status,
        "reason": reason,
        "checksums": checksums and sha256(checksums),
    }


def _inert_runs(bench: Bench, pack: Pack) -> dict[str, str]:
    """Digests of runs to leave out, with the measurement that says why."""
    single = [r for r in pack.recipes if pack.may_skip(r)]
    if not single:
        return {}
    inert = probe_inert(bench, single[0])
    found = {}
    for recipe in single:
        term = TECHNIQUES[recipe.technique].term
        if term in inert:
            log.info("%s seed %d left out: %s", recipe.technique, recipe.seed, inert[term])
            found[recipe.digest] = inert[term]
    return found


def _is_done(layout: Layout, recipe: Recipe, inputs: dict[str, Any]) -> bool:
    folder = layout.run(recipe)
    problem = run_flaw(layout, recipe)
    if problem is None:
        check_inputs(folder, inputs)
        return True
    if problem != "missing":
        aside = set_aside(folder, layout.work(recipe))
        log.warning("%s: %s; moved to %s and trained again", folder, problem, aside)
    return False


@dataclass(frozen=True)
class _Job:
    """What training the groups of a pack has in common."""

    bench: Bench
    inputs: dict[str, Any]
    origin: str
    todo: set[str]
    checkpoint_seconds: float
    stop: Callable[[], bool]
    progress: Callable[[int, int, str], None]

    def train(self, group: list[Recipe], flat: bool) -> None:
        """Trains the runs of a group and writes those that are not there yet."""
        wanted = [r for r in group if r.digest in self.todo]
        work = self._folder(group)
        try:
            self._train(group, wanted, work, flat)
        except Interrupted:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            for recipe in wanted:
                write_file(
                    self.bench.layout.work(recipe) / "error.json", to_json({"reason": reason})
                )
            raise
        shutil.rmtree(work, ignore_errors=True)

    def begun(self, recipes: list[Recipe]) -> list[list[Recipe]]:
        """Groups that an earlier process left half done, on the same data, weights and code.

        They go on as they were, even when the pack has other runs by now or some of theirs are
        written already, so that they end as if they had not been interrupted.
        """
        known = {r.digest: r for r in recipes}
        found: list[list[Recipe]] = []
        for folder in sorted(self._folder([]).parent.glob(f"group-{self.origin}-*")):
            digests = checkpoint_digests(folder / CHECKPOINT)
            taken = {r.digest for group in found for r in group}
            if digests and set(digests) <= set(known) - taken and set(digests) & self.todo:
                found.append([known[d] for d in digests])
        return found

    def _folder(self, runs: list[Recipe]) -> Path:
        key = digest([r.digest for r in runs])
        return self.bench.layout.data / "work" / f"group-{self.origin}-{key}"

    def _train(self, runs: list[Recipe], wanted: list[Recipe], work: Path, flat: bool) -> None:
        bench = self.bench
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        provenance.reset_peak_memory(bench.device)
        encoder, data = bench.model(runs[0]), [bench.data(r) for r in runs]
        names = ", ".join(dict.fromkeys(r.technique for r in runs))
        precision = runs[0].training["precision"]
        control = Control(
            work / CHECKPOINT,
            self.checkpoint_seconds,
            self.stop,
            lambda done, total, text: self.progress(done, total, f"{names}: {text}"),
        )
        used = engine(encoder, runs, [d.train for d in data], bench.device, flat)
        try:
            states = train(used, data, control)
            extra = self._measured(runs[0], encoder, data[0])
        finally:
            used.close()
        for recipe, state, own in zip(runs, states, data, strict=True):
            if recipe not in wanted:
                continue
            seconds = (state.seconds + time.monotonic() - control.started) / len(runs)
            facts = provenance.collect(
                bench.layout.root,
                bench.device,
                inputs=self.inputs,
                started=started,
                seconds=round(seconds, 3),
                runs_together=len(runs),
                precision="bfloat16" if lowered(bench.device, precision) else "float32",
            )
            parts = parts_of(encoder, recipe)
            added = added_numbers(encoder, recipe)
            files = run_files(recipe, state, encoder, parts, added, len(own.train)) | extra
            write_folder(bench.layout.run(recipe), files | {"provenance.json": to_json(facts)})
            log.info("%s: %s", recipe.folder(), state.reason or "done")

    def _measured(self, recipe: Recipe, encoder: Encoder | Decoder, data: Data) -> dict[str, bytes]:
        if not TECHNIQUES[recipe.technique].measures:
            return {}

        def progress(done: int, total: int, text: str) -> None:
            if self.stop():
                raise Interrupted
            self.progress(done, total, text)

        return {
            "gradients.safetensors": gradients_file(self.bench, recipe, encoder, data, progress)
        }


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Turns SIGTERM and SIGINT into a question that the training loop asks before each step."""
    asked = []
    previous = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):  # not the main thread: the caller handles signals
            previous[number] = signal.signal(number, lambda n, frame: asked.append(n))
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
