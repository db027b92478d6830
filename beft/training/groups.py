"""Trains the runs that a pack lacks: resumes those half done, groups those that share a model."""

import datetime
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from beft.engine.dispatch import engine, groups, packs_together, serves
from beft.engine.precision import real
from beft.errors import UserError, one_line
from beft.store.failures import Status, note_failure
from beft.store.files import set_aside, sweep, to_json, write_folder
from beft.store.locks import Lock
from beft.store.owners import this_process
from beft.store.run_folder import open_run
from beft.store.run_format import GRADIENTS, PROVENANCE
from beft.study.identity import digest
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES
from beft.training import checkpoint, provenance
from beft.training.checkpoint import CHECKPOINT
from beft.training.gradient_files import gradients_file
from beft.training.inputs import Inputs, current_inputs
from beft.training.loop import train
from beft.training.results import run_files
from beft.training.shared import Loader
from beft.training.state import Control, Interrupted

log = logging.getLogger(__name__)

POLL = 5.0  # seconds between two looks at runs that others train


@dataclass(frozen=True)
class Job:
    """Trains the runs of a pack."""

    loader: Loader
    recipes: dict[str, Recipe]  # digest -> recipe
    inputs: Inputs  # checksums of the data and weights that are here now
    origin: str  # digest of code and inputs; a checkpoint is used only by a job of the same origin
    # checkpoint_seconds, stop, progress: see `Control`
    checkpoint_seconds: float
    stop: Callable[[], bool]
    progress: Callable[[int, int, str], None]

    def bring(self, held: dict[str, Lock]) -> None:
        """Trains the runs that are missing, of those whose locks are held."""
        todo = {d: held[d] for d in held if not self._is_done(self.recipes[d])}
        if todo:
            begun = self._begun(todo)
            rest = set(todo) - {r.digest for group in begun for r in group}
            # What the head reads decides whether runs can do without padding.
            for pooling in dict.fromkeys(self.recipes[d].pooling for d in todo):
                alike = [r for r in self.recipes.values() if r.pooling == pooling]
                flat = any(packs_together(r) for r in alike) and serves(
                    self.loader.model(alike[0]), self.loader.device
                )
                mine = [group for group in begun if group[0].pooling == pooling]
                left = [r for r in alike if r.digest in rest]
                for group in (*mine, *groups(left, flat, self.loader.device)):
                    self._bring_group(group, todo, flat)

    def flaw(self, recipe: Recipe) -> str | None:
        """Why a run has to be trained; None when it is there.

        Raises:
            UserError: it is there, but was trained on other data or weights.
        """
        run = open_run(self.loader.layout, recipe)
        if run.flaw is None and run.foreign:
            raise UserError(f"{run.folder}: {run.foreign}")
        return run.flaw

    def wait(self, others: dict[str, str]) -> None:
        """Waits up to `POLL` seconds for runs of this pack that other processes train."""
        until = time.monotonic() + POLL
        while others and time.monotonic() < until:
            if self.stop():
                raise Interrupted
            text = f"waiting for {', '.join(sorted(set(others.values())))}"
            self.progress(len(self.recipes) - len(others), len(self.recipes), text)
            time.sleep(0.1)

    def _is_done(self, recipe: Recipe) -> bool:
        layout, problem = self.loader.layout, self.flaw(recipe)
        sweep(layout.run(recipe))
        if problem not in (None, "missing"):
            folder = layout.run(recipe)
            aside = set_aside(folder, layout.work(f"{recipe.digest}.damaged"))
            log.warning("%s: %s; moved to %s and trained again", folder, problem, aside)
        return problem is None

    def _bring_group(self, group: list[Recipe], todo: dict[str, Lock], flat: bool) -> None:
        """Trains the runs of a group and writes those in `todo`."""
        work = self._folder(group)
        try:
            self._train(group, todo, work, flat)
        except Interrupted:
            self._note(group, todo, f"stopped while {this_process()} trained it", "missing")
            raise
        except Exception as error:
            reason = one_line(f"{type(error).__name__}: {error}", 500)
            self._note(group, todo, reason, "failed")
            raise
        shutil.rmtree(work, ignore_errors=True)

    def _note(
        self, group: list[Recipe], todo: dict[str, Lock], reason: str, status: Status
    ) -> None:
        """Notes for the reports why runs of this group were not written."""
        with suppress(UserError):  # on a full disk, say what could not be written first
            for recipe in group:
                if recipe.digest in todo:
                    note_failure(todo[recipe.digest].folder, status, reason)

    def _begun(self, todo: dict[str, Lock]) -> list[list[Recipe]]:
        """Groups with a checkpoint of an earlier process on the same data, weights and code.

        A group goes on unchanged, even when the pack has other runs by now or some of the group's
        are written already, so that its runs end as if they had not been interrupted.
        """
        layout = self.loader.layout
        known = {d for d, r in self.recipes.items() if d in todo or not open_run(layout, r).flaw}
        found: list[list[Recipe]] = []
        for folder in sorted(self._folder([]).parent.glob(f"group-{self.origin}-*")):
            digests = checkpoint.digests(folder / CHECKPOINT)
            taken = {r.digest for group in found for r in group}
            if digests and set(digests) <= known - taken and set(digests) & set(todo):
                found.append([self.recipes[d] for d in digests])
        return found

    def _folder(self, runs: list[Recipe]) -> Path:
        key = digest([r.digest for r in runs])
        return self.loader.layout.work(f"group-{self.origin}-{key}")

    def _train(self, runs: list[Recipe], todo: dict[str, Lock], work: Path, flat: bool) -> None:
        loader, device = self.loader, self.loader.device
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        provenance.reset_peak_memory(device)
        model, data = loader.model(runs[0]), [loader.data(r) for r in runs]
        names = ", ".join(dict.fromkeys(r.technique for r in runs))
        control = Control(
            work / CHECKPOINT,
            self.checkpoint_seconds,
            self.stop,
            lambda done, total, text: self.progress(done, total, f"{names}: {text}"),
        )
        used = engine(model, runs, [d.train for d in data], device, flat)
        try:
            states = train(used, data, control)
            extra = {}
            if TECHNIQUES[runs[0].technique].measures:
                extra[GRADIENTS] = gradients_file(
                    device, runs[0], model, data[0], used.passes, self.progress
                )
        finally:
            used.close()
        if current_inputs(loader.layout, runs[0]) != self.inputs:
            raise UserError(
                f"{loader.layout.source(runs[0])}: changed while this job ran; run it again"
            )
        for recipe, state, given in zip(runs, states, data, strict=True):
            if recipe.digest not in todo:
                continue
            todo[recipe.digest].check()
            seconds = (state.seconds + time.monotonic() - control.started) / len(runs)
            facts = provenance.collect(
                loader.layout.root,
                device,
                inputs=self.inputs,
                started=started,
                seconds=round(seconds, 3),
                runs_together=len(runs),
                tokens_per_pass=used.passes.tokens or None,  # None: whole batches
                passes_refused=state.refused + used.passes.refused,
                precision=real(device, recipe.training["precision"]),
                **provenance.inherited(model),
                **provenance.demonstrated(given),
            )
            files = run_files(recipe, state, model, len(given.train)) | extra
            write_folder(loader.layout.run(recipe), files | {PROVENANCE: to_json(facts)})
            log.info("%s: %s", recipe.folder(), state.reason or "done")
