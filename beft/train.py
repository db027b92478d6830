"""One fine-tune: the loop, its checkpoint, and what it leaves behind."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from beft.batches import Encoded, chunks, collate
from beft.data import order
from beft.evaluate import decide, evaluate, predict
from beft.models import Encoder, init_head
from beft.recipe import Recipe
from beft.sites import read_biases
from beft.store import write_file
from beft.techniques import TECHNIQUES, Part

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class Data:
    """A task's examples for one run: the training subset and each validation split."""

    train: Encoded
    validation: dict[str, Encoded]


@dataclass(frozen=True)
class Control:
    """How a run is executed; nothing here changes its result.

    Attributes:
        work: folder of the checkpoint.
        device: "cpu", "cuda", ...
        checkpoint_seconds: between checkpoints inside an epoch.
        stop: asked before each step; True writes a checkpoint and raises `Interrupted`.
        progress: called with (steps done, steps in all, what is going on).
    """

    work: Path
    device: str = "cpu"
    checkpoint_seconds: float = 60
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[int, int, str], None] = lambda done, total, text: None
    started: float = field(default_factory=time.monotonic)

    @property
    def checkpoint(self) -> Path:
        return self.work / "checkpoint.safetensors"


@dataclass
class State:
    """Everything a run accumulates; a checkpoint is this and the trained values."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    status: str = "ok"
    reason: str = ""
    seconds: float = 0.0  # spent by earlier processes on this run
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)  # snapshots, best, predictions


@dataclass(frozen=True)
class Slot:
    """One trained tensor: a whole parameter, or the chosen scalars of one."""

    parameter: torch.nn.Parameter
    index: torch.Tensor | None
    value: torch.Tensor

    def pull_gradient(self) -> None:
        """Moves the chosen scalars' gradient from the parameter to the trained tensor."""
        if self.index is not None:
            self.value.grad = self.parameter.grad.view(-1)[self.index]

    def push_value(self) -> None:
        """Writes the trained scalars back into the parameter."""
        if self.index is not None:
            self.parameter.data.view(-1)[self.index] = self.value.data


def slots_of(encoder: Encoder, parts: tuple[Part, ...]) -> list[Slot]:
    """Freezes the model except for these parts and the head."""
    parameters = dict(encoder.model.named_parameters())
    for p in parameters.values():
        p.requires_grad_(False)
        p.grad = None
    slots = []
    for part in (*parts, *(Part(name) for name in encoder.head)):
        p = parameters[part.parameter].requires_grad_(True)
        if part.index is None:
            slots.append(Slot(p, None, p))
        else:
            index = torch.as_tensor(part.index, device=p.device)
            slots.append(Slot(p, index, p.data.view(-1)[index].clone().requires_grad_(True)))
    return slots


def encoder_shapes(encoder: Encoder) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters that are not the head's."""
    named = encoder.model.named_parameters()
    return {n: tuple(p.shape) for n, p in named if n not in encoder.head}


def parts_of(encoder: Encoder, recipe: Recipe) -> tuple[Part, ...]:
    """What a recipe trains besides the head."""
    return TECHNIQUES[recipe.technique].select(encoder_shapes(encoder), encoder.sites, recipe.seed)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Seed of the dropout of one step: no random state needs to survive between steps."""
    key = f"{seed}/{epoch}/{step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big")


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy, or mean squared error for regression."""
    if logits.shape[1] == 1:
        return torch.nn.functional.mse_loss(logits[:, 0].float(), labels)
    return torch.nn.functional.cross_entropy(logits.float(), labels)


def train(encoder: Encoder, data: Data, recipe: Recipe, control: Control) -> State:
    """Runs one recipe to its end, from its checkpoint if there is one.

    The model must hold the pretrained weights; afterwards it holds the tuned ones (`restored`
    puts it back). The protocol is that of section 3.1: AdamW, constant rate, clipping, dropout,
    dynamic padding, evaluation after each epoch.

    Returns:
        The final state; `status` is `diverged` when a loss or gradient was not finite.

    Raises:
        Interrupted: when `control.stop()` said so.
    """
    settings = recipe.training
    init_head(encoder, recipe.seed)
    slots = slots_of(encoder, parts_of(encoder, recipe))
    optimizer = torch.optim.AdamW(
        [s.value for s in slots],
        lr=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        fused=True,
    )
    state = _resume(control, recipe, slots, optimizer)
    if state is None:
        state = State()
        _snapshot(state, encoder, "pre")
    steps = math.ceil(len(data.train) / settings["batch_size"])
    while state.epoch < settings["epochs"] and state.status == "ok":
        _train_epoch(encoder, data, recipe, control, slots, optimizer, state, steps)
        if state.status == "ok":
            _end_epoch(encoder, data, recipe, control, slots, optimizer, state, steps)
    if settings["epochs"] == 0:
        _evaluate(encoder, data, recipe, control, state, None)
    _snapshot(state, encoder, "post")
    state.tensors |= _named(encoder, "last")
    return state


def _train_epoch(encoder, data, recipe, control, slots, optimizer, state, steps) -> None:
    settings = recipe.training
    rows = order(len(data.train), "epoch", recipe.seed, state.epoch)
    batches = list(chunks(rows, settings["batch_size"]))
    pad, device = encoder.tokenizer.pad_token_id, control.device
    saved = time.monotonic()
    encoder.model.train()
    while state.step < steps:
        if control.stop():
            _save(control, recipe, slots, optimizer, state)
            raise Interrupted
        if time.monotonic() - saved >= control.checkpoint_seconds:
            _save(control, recipe, slots, optimizer, state)
            saved = time.monotonic()
        batch = collate(data.train, batches[state.step], pad, device)
        torch.manual_seed(step_seed(recipe.seed, state.epoch, state.step))
        loss = _step(encoder.model, batch, slots, optimizer, settings, device)
        if loss is None:
            state.status = "diverged"
            state.reason = f"loss or gradient not finite in epoch {state.epoch + 1}"
            return
        state.loss_sum += loss * len(batches[state.step])
        state.step += 1
        done = state.epoch * steps + state.step
        control.progress(done, settings["epochs"] * steps, f"epoch {state.epoch + 1}")


def _step(model, batch, slots, optimizer, settings, device) -> float | None:
    """One update; None, and no update, when the loss or the gradient is not finite."""
    labels = batch.pop("labels")
    low = settings["precision"] == "bfloat16"
    with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=low):
        loss = loss_of(model(**batch).logits, labels)
    loss.backward()
    for slot in slots:
        slot.pull_gradient()
    norm = torch.nn.utils.clip_grad_norm_([s.value for s in slots], settings["max_grad_norm"])
    value = loss.item()
    finite = math.isfinite(value) and math.isfinite(norm.item())
    if finite:
        optimizer.step()
    for slot in slots:
        slot.parameter.grad = None
        slot.value.grad = None
        slot.push_value()
    return value if finite else None


def _end_epoch(encoder, data, recipe, control, slots, optimizer, state, steps) -> None:
    state.epoch, state.step = state.epoch + 1, 0
    loss, state.loss_sum = state.loss_sum / len(data.train), 0.0
    _evaluate(encoder, data, recipe, control, state, loss)
    if state.status == "ok":
        _snapshot(state, encoder, f"epoch-{state.epoch}")
        _save(control, recipe, slots, optimizer, state)


def _evaluate(encoder, data, recipe, control, state, loss) -> None:
    """Scores every validation split; keeps head and predictions of the best epoch so far."""
    settings, metric = recipe.training, recipe.task["metric"]
    row = {"epoch": state.epoch, "train_loss": loss}
    predictions = {}
    for split, encoded in data.validation.items():
        logits = predict(
            encoder.model,
            encoded,
            settings["eval_batch_size"],
            encoder.tokenizer.pad_token_id,
            control.device,
            settings["precision"],
        )
        predictions[split] = torch.from_numpy(decide(logits).copy())
        row[f"{split}/{metric}"] = evaluate(predictions[split].numpy(), encoded, metric)
    key = f"{next(iter(data.validation))}/{metric}"
    if not all(math.isfinite(row[f"{s}/{metric}"]) for s in data.validation):
        state.status = "diverged"
        state.reason = f"outputs not finite after epoch {state.epoch}"
        return
    best = max((h[key] for h in state.history), default=-math.inf)
    state.history.append(row)
    state.tensors |= {f"predictions/last/{s}": p for s, p in predictions.items()}
    if row[key] > best:
        state.best_epoch = state.epoch
        state.tensors |= {f"predictions/best/{s}": p for s, p in predictions.items()}
        state.tensors |= _named(encoder, "best")


def _named(encoder: Encoder, when: str) -> dict[str, torch.Tensor]:
    parameters = dict(encoder.model.named_parameters())
    return {f"head/{when}/{n}": parameters[n].detach().cpu().clone() for n in encoder.head}


def _snapshot(state: State, encoder: Encoder, name: str) -> None:
    for term, values in read_biases(encoder.model, encoder.sites).items():
        state.tensors[f"biases/{name}/{term}"] = values


def _save(control, recipe, slots, optimizer, state) -> None:
    """Writes the checkpoint: safetensors, with the plain state as its metadata."""
    tensors = {f"state/{k}": v.contiguous() for k, v in state.tensors.items()}
    for i, slot in enumerate(slots):
        tensors[f"value/{i}"] = slot.value.detach().cpu().contiguous()
        for key, value in optimizer.state.get(slot.value, {}).items():
            tensors[f"adam/{i}/{key}"] = value.detach().cpu().contiguous()
    plain = {k: v for k, v in vars(state).items() if k != "tensors"}
    plain["seconds"] += time.monotonic() - control.started
    metadata = {"digest": recipe.digest, "state": json.dumps(plain)}
    tensors = {k: v.clone() for k, v in tensors.items()}
    write_file(control.checkpoint, save(tensors, metadata=metadata))


def _resume(control, recipe, slots, optimizer) -> State | None:
    """The state of a sound checkpoint of this recipe, loaded into model and optimizer."""
    try:
        with safe_open(control.checkpoint, "pt") as file:
            metadata = file.metadata()
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if metadata["digest"] != recipe.digest:
            raise ValueError("it belongs to another recipe")
        state = State(**json.loads(metadata["state"]))
    except FileNotFoundError:
        return None
    except Exception as error:
        log.warning("%s: not usable (%s); starting over", control.checkpoint, error)
        return None
    state.tensors = {
        k.removeprefix("state/"): v for k, v in tensors.items() if k.startswith("state/")
    }
    for i, slot in enumerate(slots):
        slot.value.data.copy_(tensors[f"value/{i}"])
        slot.push_value()
        prefix = f"adam/{i}/"
        moments = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if moments:
            device = slot.value.device
            optimizer.state[slot.value] = {k: v.to(device) for k, v in moments.items()}
    log.info("resumed after epoch %d, step %d", state.epoch, state.step)
    return state


def trained_numbers(encoder: Encoder, parts: tuple[Part, ...]) -> tuple[int, int]:
    """(scalars that the technique trains besides the head, parameters of the encoder)."""
    shapes = encoder_shapes(encoder)
    trained = sum(
        math.prod(shapes[p.parameter]) if p.index is None else len(p.index) for p in parts
    )
    return trained, sum(math.prod(s) for s in shapes.values())


class restored:
    """Puts the pretrained values of these parts and of the head back on leaving."""

    def __init__(self, encoder: Encoder, parts: tuple[Part, ...]):
        named = dict(encoder.model.named_parameters())
        names = {p.parameter for p in parts} | set(encoder.head)
        self.parameters = {n: named[n] for n in names}

    def __enter__(self) -> None:
        self.values = {n: p.detach().clone() for n, p in self.parameters.items()}

    def __exit__(self, *exception) -> None:
        for name, p in self.parameters.items():
            p.data.copy_(self.values[name])
