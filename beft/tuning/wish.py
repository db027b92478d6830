"""What the user of `tune` asks for, and how the user hears of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

FOLDS = 5


@dataclass(frozen=True)
class Wish:
    """What the user asks for. Equal wishes on equal data go on with one plan."""

    model: str  # a folder, or an id of the hub
    text: tuple[str, ...] = ()  # names of columns; empty to guess
    label: str | None = None
    test: float | str = 0.2  # a share of the rows, or the path of another file
    metric: str | None = None
    minutes: float = 10.0
    seeds: int = FOLDS  # folds, each with a seed of its own
    group: str | None = None  # a column whose equal values stay on one side of every cut
    workers: int | None = None  # processes; default: one per core, or one on a GPU
    device: str = "cpu"
    prompt: str | None = None  # of a decoder, with {columns}; None for one made of their names

    def to_plain(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Talk:
    """How the user hears of it. In a notebook: not at all."""

    say: Callable[[str], None] = lambda line: None
    # called with what is going on, and the share of it that is done
    progress: Callable[[str, float], None] = lambda what, share: None
    agrees: Callable[[], bool] = lambda: True  # asked once, when the plan is known
