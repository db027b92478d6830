"""What the user of `tune` asks for, and how the user hears of it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from beft.errors import UserError

FOLDS, MOST_FOLDS = 5, 20


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

    def __post_init__(self) -> None:
        """Refuses what no call can be made of.

        Raises:
            UserError: with the name of the option.
        """
        if isinstance(self.test, float) and not 0 < self.test < 1:
            raise UserError(f"test {self.test}: give a share between 0 and 1, or a file")
        if not 2 <= self.seeds <= MOST_FOLDS:
            raise UserError(f"seeds {self.seeds}: give 2 to {MOST_FOLDS}")
        if not 0 < self.minutes < math.inf:
            raise UserError(f"minutes {self.minutes}: give more than 0")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers {self.workers}: give at least 1")

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
