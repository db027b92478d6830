"""Dropout as a function of run, sequence, token and layer.

No random state is kept, so a run's masks do not depend on the other runs of a pack, on how a batch
is cut to fit into memory, or on the device.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

_HEAD = 2**20  # number of the first dropout of a head
_WIDEST = 2**16  # keys of one token for attention: head * _WIDEST + position

Numbers = Sequence[int] | np.ndarray


def _scrambled(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's output function: 64 well mixed bits of each number."""
    z = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _short(numbers: np.ndarray) -> np.ndarray:
    """The upper 32 bits, as int32."""
    return (numbers >> np.uint64(32)).astype(np.uint32).view(np.int32)


def token_keys(seeds: Numbers, sequences: Numbers, lengths: Numbers) -> np.ndarray:
    """A key for each token of a row, (N,) int32, from its position alone.

    Args:
        seeds: of the run of each sequence.
        sequences: number of each within its run's batch.
        lengths: tokens of each sequence.
    """
    with np.errstate(over="ignore"):
        numbers = _scrambled(np.array(seeds, np.uint64)) ^ np.array(sequences, np.uint64)
        first = np.repeat(_scrambled(numbers), lengths)
        ends = np.cumsum(lengths)
        position = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        return _short(_scrambled(first ^ position.astype(np.uint64)))


@lru_cache(maxsize=64)
def column_keys(count: int, device: str) -> torch.Tensor:
    """A key for each feature, (count,) int32."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(_short(_scrambled(np.arange(count) + 2**40))).to(device)


@lru_cache(maxsize=64)
def _pairs(heads: int, places: int, device: str) -> torch.Tensor:
    """A key for each head and position in a sequence, (heads, places) int32."""
    numbers = np.arange(heads)[:, None] * _WIDEST + np.arange(places) + 2**41
    with np.errstate(over="ignore"):
        return torch.from_numpy(_short(_scrambled(numbers))).to(device)


@lru_cache(maxsize=4096)
def call_key(number: int) -> int:
    """A key for each dropout of a pass, from its number, int32."""
    with np.errstate(over="ignore"):
        return int(_short(_scrambled(np.array([number + 2**42])))[0])


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


def factors(rows: torch.Tensor, columns: torch.Tensor, p: float) -> torch.Tensor:
    """0 with probability p, else 1 / (1 - p), for each pair: the shapes broadcast, float32.

    Both keys together go through MurmurHash3's finaliser; its upper bits decide.
    """
    x = rows ^ columns
    y = x >> 16
    x ^= y.bitwise_and_(0xFFFF)
    x *= _signed(0x85EBCA6B)
    torch.bitwise_right_shift(x, 13, out=y)
    x ^= y.bitwise_and_(0x7FFFF)
    x *= _signed(0xC2B2AE35)
    return (x >= int((p - 0.5) * 2**32)).float().mul_(1 / (1 - p))


class Noise:
    """The dropout of one forward pass.

    Attributes:
        keys: (N,) int32, from `token_keys`.
        first: (S,) index of each sequence's first token.
    """

    def __init__(self, keys: torch.Tensor, first: torch.Tensor):
        self.keys, self.first = keys, first
        self._calls = 0

    def _next(self) -> int:
        self._calls += 1
        return call_key(self._calls)

    def hidden(self, shape: torch.Size, p: float) -> torch.Tensor:
        """Factors of the next hidden states: one row for each token, or each first token."""
        columns = column_keys(shape[-1], str(self.keys.device)) ^ self._next()
        whole = shape.numel() == len(self.keys) * shape[-1]
        rows = self.keys if whole else self.keys[self.first]
        return factors(rows[:, None], columns, p).view(shape)

    def shares(self, heads: int, p: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """Factors of the next attention, as a function: positions (S, L) -> (S, heads, L, L).

        Padding does not change the factor of a position.
        """
        call, device = self._next(), str(self.keys.device)

        def of(places: torch.Tensor) -> torch.Tensor:
            longest = places.shape[1]
            columns = _pairs(heads, 1 << (longest - 1).bit_length(), device)[:, :longest] ^ call
            rows = self.keys[places]
            return factors(rows[:, None, :, None], columns[:, None, :], p)

        return of

    def begin_head(self) -> None:
        """Numbers the head's dropouts, whatever the encoder's depth."""
        self._calls = _HEAD
