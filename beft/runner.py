"""A pack job: skip what is sound, resume what is half done, train the rest, write the manifest."""

import csv
import datetime
import io
import json
import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from beft import provenance
from beft.batches import Encoded, encode
from beft.data import check_source, read_subset, source_checksums
from beft.engine import engine, groups, packs_together
from beft.errors import UserError
from beft.gradients import measure
from beft.hashing import sha256
from beft.inert import inert_terms
from beft.mirror import locate
from beft.models import Encoder, init_head, load_encoder
from beft.packing import serves
from beft.padded import parts_of, trained_numbers
from beft.recipe import Pack, Recipe, digest
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
from beft.train import Control, Data, Interrupted, State, train

log = logging.getLogger(__name__)

PROBE_EXAMPLES = 32  # enough to tell a zero gradient from a small one


@dataclass
class Bench:
    """What the runs of a pack share: the frozen model and the tokenised data."""

    layout: Layout
    device: str
    encoders: dict[Any, Encoder]
    splits: dict[Any, Encoded]

    def encoder(self, recipe: Recipe) -> Encoder:
        """The recipe's model with pretrained weights, loaded once per pack."""
        dropout = recipe.training["dropout"]
        if dropout not in self.encoders:
            alias = recipe.model["alias"]
            self.encoders[dropout] = load_encoder(
                locate(self.layout.root, self.layout.model(recipe)),
                len(recipe.task["labels"]) or 1,
                sites=recipe.model["sites"],
                device=self.device,
                dropout=dropout,
                name=alias,
            )
        return self.encoders[dropout]

    def split(self, recipe: Recipe, name: str) -> Encoded:
        """A tokenised split."""
        key = (name, recipe.training["max_length"])
        if key not in self.splits:
            table = pq.read_table(self.layout.source(recipe) / f"{name}.parquet")
            tokenizer = self.encoder(recipe).tokenizer
            self.splits[key] = encode(table, recipe.task, tokenizer, key[1])
        return self.splits[key]

    def data(self, recipe: Recipe) -> Data:
        """The run's training subset and validation splits."""
        rows = read_subset(self.layout.source(recipe), recipe, self.layout.subset(recipe))
        validation = {s: self.split(recipe, s) for s in recipe.task["validation"]}
        return Data(self.split(recipe, recipe.task["train"]).take(rows), validation)


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
    inputs = current_inputs(layout, pack.recipes[0])
    bench = Bench(layout, device, {}, {})
    with _stop_signals() as stop, ExitStack() as locks:
        inert = _inert_runs(bench, pack)
        recipes = [r for r in pack.recipes if r.digest not in inert]
        for recipe in recipes:
            locks.enter_context(lock(layout.work(recipe)))
        todo = {r.digest for r in recipes if not _is_done(layout, recipe=r, inputs=inputs)}
        if todo:
            job = _Job(bench, inputs, todo, checkpoint_seconds, stop, progress)
            flat = any(packs_together(r) for r in recipes) and serves(
                bench.encoder(recipes[0]), device
            )
            for group in groups(recipes, flat):
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


def current_inputs(layout: Layout, recipe: Recipe) -> dict[str, Any]:
    """SHA-256 of what a run reads: weights and normalised splits.

    Raises:
        UserError: when something is missing or damaged.
    """
    source = layout.source(recipe)
    check_source(source, recipe.task["name"])
    splits = source_checksums(source)
    model = layout.model(recipe)
    if not model.is_file():
        alias = recipe.model["alias"]
        raise UserError(f"{model}: missing; run 'beft fetch --model {alias}' first")
    return {"source": splits, "model": read_json(model)["sha256"]}


def _inert_runs(bench: Bench, pack: Pack) -> dict[str, str]:
    """Digests of runs to leave out, with the measurement that says why."""
    single = [r for r in pack.recipes if TECHNIQUES[r.technique].term in ("q", "k", "v")]
    if not (pack.skip_inert and single):
        return {}
    inert = _probe(bench, single[0])
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
        _check_inputs(folder, inputs)
        return True
    if problem != "missing":
        aside = set_aside(folder, layout.work(recipe))
        log.warning("%s: %s; moved to %s and trained again", folder, problem, aside)
    return False


def _check_inputs(folder: Path, inputs: dict[str, Any]) -> None:
    """A run counts only for the very data and weights that are there now."""
    recorded = read_json(folder / "provenance.json")["inputs"]
    for kind, current in inputs.items():
        if recorded[kind] != current:
            raise UserError(
                f"{folder}: trained on other {'weights' if kind == 'model' else 'data'} than are "
                "here now under the same revision; restore them, or pin a new revision"
            )


@dataclass(frozen=True)
class _Job:
    """What training the groups of a pack has in common."""

    bench: Bench
    inputs: dict[str, Any]
    todo: set[str]
    checkpoint_seconds: float
    stop: Callable[[], bool]
    progress: Callable[[int, int, str], None]

    def train(self, group: list[Recipe], flat: bool) -> None:
        """Trains the runs of a group that are not there yet.

        A checkpoint of the whole group goes on with the whole group, so that it ends as if it had
        not been interrupted, even when some of its runs were already written.
        """
        wanted = [r for r in group if r.digest in self.todo]
        if not wanted:
            return
        runs = group if self._work(group).is_dir() else wanted
        work = self._work(runs)
        try:
            self._train(runs, wanted, work, flat)
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

    def _work(self, runs: list[Recipe]) -> Path:
        key = digest([r.digest for r in runs])
        return self.bench.layout.data / "work" / f"group-{key}"

    def _train(self, runs: list[Recipe], wanted: list[Recipe], work: Path, flat: bool) -> None:
        bench = self.bench
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if bench.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(bench.device)
        encoder, data = bench.encoder(runs[0]), [bench.data(r) for r in runs]
        names = ", ".join(dict.fromkeys(r.technique for r in runs))
        control = Control(
            work / "checkpoint.safetensors",
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
            )
            parts = parts_of(encoder, recipe)
            files = run_files(recipe, state, encoder, parts, len(own.train)) | extra
            write_folder(bench.layout.run(recipe), files | {"provenance.json": to_json(facts)})
            log.info("%s: %s", recipe.folder(), state.reason or "done")

    def _measured(self, recipe: Recipe, encoder: Encoder, data: Data) -> dict[str, bytes]:
        if TECHNIQUES[recipe.technique].trains:
            return {}
        return {"gradients.safetensors": _gradients(self, recipe, encoder, data)}


def _gradients(job: _Job, recipe: Recipe, encoder: Encoder, data: Data) -> bytes:
    total = len(data.train)
    measured = measure(
        encoder.model,
        encoder.sites,
        data.train,
        encoder.tokenizer.pad_token_id,
        job.bench.device,
        recipe.training["batch_size"],
        lambda done: job.progress(done, total, "gradients"),
    )
    tensors = {
        f"{kind}/{term}": torch.from_numpy(values)
        for kind, terms in vars(measured).items()
        for term, values in terms.items()
    }
    return save(tensors)


def _probe(bench: Bench, recipe: Recipe) -> dict[str, str]:
    """Measures which terms are inert, on a few examples, without training."""
    encoder = bench.encoder(recipe)
    data = bench.data(recipe).train
    init_head(encoder, recipe.seed)
    few = data.take(np.arange(min(PROBE_EXAMPLES, len(data))))
    pad = encoder.tokenizer.pad_token_id
    measured = measure(encoder.model, encoder.sites, few, pad, bench.device, len(few))
    return inert_terms(measured.mean_abs)


def run_files(
    recipe: Recipe, state: State, encoder, parts, train_examples: int
) -> dict[str, bytes]:
    """The files of a finished run that follow from its recipe alone."""
    trained, total = trained_numbers(encoder, parts)
    metric = recipe.task["metric"]
    scores = {}
    for split in recipe.task["validation"]:
        values = {h["epoch"]: h[f"{split}/{metric}"] for h in state.history}
        fine = bool(values) and state.status == "ok"
        scores[split] = {
            "best": values[state.best_epoch] if fine else None,
            "last": values[max(values)] if fine else None,
        }
    metrics = {
        "status": state.status,
        "reason": state.reason,
        "metric": metric,
        "splits": scores,
        "best_epoch": state.best_epoch,
        "epochs": len(state.history),
        "train_examples": train_examples,
        "trainable_params": trained,
        "trainable_percent": 100 * trained / total,
        "encoder_params": total,
    }
    groups: dict[str, dict[str, torch.Tensor]] = {"biases": {}, "head": {}, "predictions": {}}
    for key, tensor in state.tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor.contiguous().clone()
    return {
        "recipe.json": to_json(recipe.to_dict()),
        "metrics.json": to_json(metrics),
        "history.csv": _history_csv(recipe, state),
        **{f"{name}.safetensors": save(tensors) for name, tensors in groups.items()},
    }


def _history_csv(recipe: Recipe, state: State) -> bytes:
    columns = ["epoch", "train_loss"]
    columns += [f"{s}/{recipe.task['metric']}" for s in recipe.task["validation"]]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in state.history:
        writer.writerow({k: "" if v is None else json.dumps(v) for k, v in row.items()})
    return out.getvalue().encode()


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
