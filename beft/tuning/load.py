"""Load adapters and predict with them: several of one base model share one frozen copy of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beft.errors import UserError
from beft.tuning.adapter_format import Adapted, Base, read_adapted
from beft.tuning.base_model import find_base
from beft.tuning.examples import Meaning
from beft.tuning.host import Host, kind_of

Texts = Sequence[str] | Sequence[tuple[str, ...]]  # a text, or a pair of texts, for each example


@dataclass(frozen=True)
class Predictions:
    """What an adapter answers to n texts, in their order."""

    classes: tuple[str, ...]  # empty for a regression
    # (n,) names of classes, None where a text is empty; values of a regression, NaN likewise
    predictions: np.ndarray
    probabilities: np.ndarray  # (n, classes) float64, NaN for an empty text; (n, 0) of a regression
    cut: np.ndarray  # (n,) bool: the text is longer than what the model reads of it
    empty: np.ndarray  # (n,) bool: there is no text, so there is no prediction


@dataclass(frozen=True)
class Adapter:
    """A tuned model, ready to predict."""

    folder: Path
    adapted: Adapted
    host: Host
    number: int  # its place in the host

    @property
    def meaning(self) -> Meaning:
        """What its outputs mean."""
        return self.adapted.facts.meaning

    def predict(self, texts: Texts) -> Predictions:
        """Predicts the class or value of each text.

        Args:
            texts: a text, or a pair of texts, for each example.

        Raises:
            UserError: an example has more or fewer texts than it was tuned on.
        """
        (found,) = predict_all([self], texts)
        return found

    def outputs(self, texts: Texts) -> np.ndarray:
        """`Host.outputs` of each text, (n, outputs), not scaled; NaN for an empty text."""
        ((found, _, _),) = _outputs([self], texts)
        return found


def load(folder: str | Path, base: str | Path | None = None, device: str = "cpu") -> Adapter:
    """Loads an adapter that `beft tune` wrote, and the model that it was tuned on.

    Args:
        folder: the adapter's folder.
        base: the folder of that model; it is looked for if none is given (`find_base`).
        device: cpu, cuda, cuda:1, ...

    Raises:
        UserError: the folder holds no adapter, or the model is not the one that was tuned.
    """
    (adapter,) = load_all([folder], base, device)
    return adapter


def load_all(
    folders: Sequence[str | Path], base: str | Path | None = None, device: str = "cpu"
) -> list[Adapter]:
    """Loads adapters of one model, which is loaded once for all of one `kind_of`.

    Raises:
        UserError: as for `load`; or they were tuned on different models.
    """
    paths = [Path(folder) for folder in folders]
    read = [read_adapted(path) for path in paths]
    first = read[0].facts.base
    for path, adapted in zip(paths, read, strict=True):
        other = adapted.facts.base
        if _identity(other) != _identity(first):
            raise UserError(
                f"{path}: tuned on {other.name}, and {paths[0]} on {first.name}, which are "
                "different models: predict with one adapter at a time"
            )
    place = find_base(first, paths[0], None if base is None else Path(base))
    return hosted(read, paths, place, device)


def hosted(
    read: Sequence[Adapted], paths: Sequence[Path], base: Path, device: str
) -> list[Adapter]:
    """Adapters of these folders and of this model, ready to predict."""
    hosts: dict[int, tuple[Host, int]] = {}
    for kind in dict.fromkeys(kind_of(each.facts) for each in read):
        some = [i for i, each in enumerate(read) if kind_of(each.facts) == kind]
        host = Host(base, [read[i] for i in some], [paths[i] for i in some], device)
        hosts |= {i: (host, number) for number, i in enumerate(some)}
    return [Adapter(paths[i], read[i], *hosts[i]) for i in range(len(paths))]


def _identity(base: Base) -> tuple[object, object]:
    return base.sha256, base.sites


def predict_all(adapters: Sequence[Adapter], texts: Texts) -> list[Predictions]:
    """Predicts with several adapters; texts are tokenised once for all that read them alike.

    Raises:
        UserError: an example has more or fewer texts than an adapter was tuned on.
    """
    computed = zip(adapters, _outputs(adapters, texts), strict=True)
    return [_meant(adapter.meaning, *found) for adapter, found in computed]


def _outputs(
    adapters: Sequence[Adapter], texts: Texts
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each adapter: outputs (n, outputs), which texts were cut, and which are empty, (n,)."""
    examples = [tuple(text) if isinstance(text, tuple | list) else (text,) for text in texts]
    for adapter in adapters:
        _check_texts(adapter, examples)
    blank = np.array([not all(map(str.strip, each)) for each in examples], bool)
    written = np.flatnonzero(~blank)
    known: dict[object, tuple[Any, np.ndarray]] = {}
    for adapter in adapters:
        facts, host = adapter.adapted.facts, adapter.host
        key = (id(host), facts.max_length, repr((facts.prompt, facts.texts)))
        if key not in known:
            known[key] = host.read(adapter.number, [examples[row] for row in written])
        data, shortened = known[key]
        # Some models put no token before or after a text, so that one of odd signs has none.
        there = np.array([data.length(i) > 0 for i in range(len(written))], bool)
        outputs, cut = np.full((len(examples), facts.outputs), np.nan), np.zeros(len(blank), bool)
        if there.any():
            chosen = data.take(np.flatnonzero(there))
            outputs[written[there]] = host.outputs(chosen, adapter.number)
        cut[written[there]] = shortened[there]
        empty = np.ones(len(blank), bool)
        empty[written[there]] = False
        yield outputs, cut, empty


def _check_texts(adapter: Adapter, examples: Sequence[tuple[str, ...]]) -> None:
    wanted = len(adapter.meaning.texts)
    for row, texts in enumerate(examples):
        if len(texts) != wanted or not all(isinstance(text, str) for text in texts):
            what = {1: "one text", 2: "a pair of texts"}.get(wanted, f"{wanted} texts")
            raise UserError(f"row {row}: {adapter.folder} reads {what} of each example; give that")


def _meant(
    meaning: Meaning, outputs: np.ndarray, cut: np.ndarray, empty: np.ndarray
) -> Predictions:
    if not meaning.classes:
        values = outputs[:, 0] * meaning.deviation + meaning.mean
        return Predictions((), values, np.empty((len(values), 0)), cut, empty)
    shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    names = np.array([*meaning.classes, None], object)
    best = np.where(empty, len(meaning.classes), np.nan_to_num(outputs, nan=0.0).argmax(axis=1))
    return Predictions(meaning.classes, names[best], shares, cut, empty)
