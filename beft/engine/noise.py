"""Dropout as a function of run, sequence, token and layer.

No random state is kept, so a run's masks do not depend on the other runs of a pack, on how a batch
is cut to fit into memory, or on the device.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch

_HEAD = 2**20  # number of the first dropout of a head
_WIDEST = 2**16  # keys of one token for attention: head * _WIDEST + position
# Hashes that are computed at once: more on a CPU would not stay in its cache.
_AT_ONCE = {"cpu": 2**19, "cuda": 2**25}

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
def _feature_keys(calls: tuple[int, ...], width: int, device: str) -> torch.Tensor:
    """A key for each call and pair of features, (calls, 1, pairs) int32."""
    return _of_calls(calls, device)[:, None, None] ^ column_keys((width + 1) // 2, device)


@lru_cache(maxsize=64)
def _place_keys(calls: tuple[int, ...], heads: int, pairs: int, device: str) -> torch.Tensor:
    """A key for each call, head and pair of positions, (calls, 1, heads, 1, pairs) int32."""
    numbers = np.arange(heads)[:, None, None] * _WIDEST + np.arange(pairs) + 2**41
    with np.errstate(over="ignore"):
        keys = torch.from_numpy(_short(_scrambled(numbers))).to(device)
    return _of_calls(calls, device)[:, None, None, None, None] ^ keys


def _of_calls(calls: tuple[int, ...], device: str) -> torch.Tensor:
    return torch.tensor([call_key(c) for c in calls], dtype=torch.int32, device=device)


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


# As tensors: a number would be made one, of the right type, in every operation.
_FIRST, _SECOND, _SHIFT = (
    torch.tensor(n, dtype=torch.int32) for n in (_signed(0x85EBCA6B), _signed(0xC2B2AE35), 15)
)


def _hashed(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """32 mixed bits of each pair of keys, shorter: both halves decide, and keys are random."""
    x = rows ^ columns
    x *= _FIRST
    x ^= x >> _SHIFT
    x *= _SECOND
    return x


class Noise:
    """The dropout of one forward pass; its dropouts are numbered by their order in the model.

    Two neighbours, features or positions, take 16 bits each of one hash.

    Attributes:
        keys: (N,) int32, from `token_keys`.
        first: (S,) index of each sequence's first token.
    """

    def __init__(self, keys: torch.Tensor, first: torch.Tensor):
        self.keys, self.first = keys, first
        self._calls = 0

    def _next(self) -> int:
        self._calls += 1
        return self._calls

    def hidden(self, shape: torch.Size, p: float) -> torch.Tensor:
        """Factors of the next hidden states: one row for each token, or each first token."""
        firsts = shape.numel() != len(self.keys) * shape[-1]
        (kept,) = self.features([self._next()], shape[-1], p, firsts)
        return kept.mul_(1 / (1 - p)).view(shape)

    def shares(self, heads: int, p: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """Factors of the next attention, as a function: positions (S, L) -> (S, heads, L, L).

        Padding does not change the factor of a position.
        """
        call = self._next()

        def of(places: torch.Tensor) -> torch.Tensor:
            count, longest = places.shape
            (kept,) = self.attention([call], self.keys[places], heads, longest, p)
            return kept.mul_(1 / (1 - p)).view(count, heads, longest, longest)

        return of

    def features(
        self,
        calls: Sequence[int],
        width: int,
        p: float,
        firsts: bool,
        dtype: torch.dtype = torch.float32,
    ) -> list[torch.Tensor]:
        """1 where a feature is kept, else 0, for each of these dropouts: (N, width).

        Args:
            firsts: one row for each first token, not for each token.
        """
        rows = self.keys[self.first] if firsts else self.keys
        size = len(rows) * ((width + 1) // 2)
        found: list[torch.Tensor] = []
        for some in self._groups(calls, size):
            columns = _feature_keys(some, width, str(rows.device))
            found += _kept(rows[:, None], columns, width, p, dtype).unbind(0)
        return found

    def attention(
        self,
        calls: Sequence[int],
        rows: torch.Tensor,
        heads: int,
        places: int,
        p: float,
        dtype: torch.dtype = torch.float32,
    ) -> list[torch.Tensor]:
        """1 where a probability is kept, else 0, for each of these: (S * heads, L, places).

        Args:
            rows: (S, L) keys of the tokens that attend.
        """
        pairs = (places + 1) // 2
        found: list[torch.Tensor] = []
        for some in self._groups(calls, rows.numel() * heads * pairs):
            # As many keys as a power of two, so that few lengths are kept.
            columns = _place_keys(some, heads, 1 << (pairs - 1).bit_length(), str(rows.device))
            kept = _kept(rows[:, None, :, None], columns[..., :pairs], places, p, dtype)
            found += kept.view(len(some), -1, rows.shape[1], places).unbind(0)
        return found

    def _groups(self, calls: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
        """These calls in groups whose hashes are computed at once."""
        count = max(1, _AT_ONCE[self.keys.device.type] // max(1, size))
        for start in range(0, len(calls), count):
            yield tuple(calls[start : start + count])

    def begin_head(self) -> None:
        """Numbers the head's dropouts, whatever the encoder's depth."""
        self._calls = _HEAD


def _kept(
    rows: torch.Tensor, columns: torch.Tensor, width: int, p: float, dtype: torch.dtype
) -> torch.Tensor:
    """For each call: 1 with probability 1 - p, else 0, (calls, *rows, width)."""
    halves = _hashed(rows, columns).view(torch.int16)
    halves = halves if halves.shape[-1] == width else halves[..., :width]
    out = torch.empty(halves.shape, dtype=dtype, device=halves.device)
    return torch.ge(halves, _bound(p), out=out)


@lru_cache(maxsize=64)
def _bound(p: float) -> torch.Tensor:
    """What a fraction p of all 16-bit numbers is less than."""
    return torch.tensor(min(round(p * 2**16), 2**16 - 1) - 2**15, dtype=torch.int16)
