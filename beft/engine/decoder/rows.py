"""Rows of tokens for one pass of a decoder: each prompt once, its candidates as branches.

A candidate's tokens attend to the prompt and to earlier tokens of the same candidate, so that one
pass gives the likelihood of all candidates. Short examples share a row. Prompts that begin alike
can share that beginning. The last token of a candidate predicts nothing and is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from beft.data.prompts import Prompts

WIDTH = 64  # tokens of a row that several examples share; longer examples do not share a row


@dataclass(frozen=True)
class Item:
    """One example in a pass: the run it belongs to, its prompt, and the candidates to score."""

    run: int
    prompt: list[int]
    candidates: list[list[int]]
    # First tokens of the prompt that the example before it has too: they are computed there. They
    # are fewer than the prompt, and as many for all examples that follow one without any.
    shared: int = 0

    def fed(self) -> int:
        """Tokens that the model reads."""
        return len(self.prompt) - self.shared + sum(len(c) - 1 for c in self.candidates)


@dataclass(frozen=True)
class Rows:
    """One pass."""

    # ids, positions: (B, W) tokens, and their positions in their sequences
    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor  # (B, 1, W, W) added to attention scores: 0 or the type's lowest number
    owner: torch.Tensor  # (B, W) the run of each token
    cells: torch.Tensor  # (K,) flat positions (of B * W) at which logits are computed
    queries: torch.Tensor  # (B, Q) the places of these cells in each row, filled up with any
    asked: torch.Tensor  # (K,) flat positions (of B * Q) of each cell
    # (A,) index into `cells` of the logits that predict each token of all candidates
    predictors: torch.Tensor
    targets: torch.Tensor  # (A,) that token
    candidate: torch.Tensor  # (A,) the candidate that it is part of
    lengths: torch.Tensor  # (C,) tokens of each candidate
    counts: list[int]  # candidates of each example, in the order of the examples


def items(
    data: Prompts, rows: Sequence[int] | np.ndarray, run: int = 0, gold: bool = False
) -> list[Item]:
    """Examples of a pass; with `gold`, the right answer is the only candidate."""
    return [
        Item(run, data.prompts[r], [data.answers[r][data.gold(r)]] if gold else data.answers[r])
        for r in rows
    ]


def shelves(sizes: Sequence[int]) -> list[list[int]]:
    """The examples of each row: first fit, longest first; a function of the sizes alone."""
    width = max([WIDTH, *sizes])
    rows: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        for row, free in enumerate(left):
            if sizes[i] <= free:
                rows[row].append(i)
                left[row] -= sizes[i]
                break
        else:
            rows.append([i])
            left.append(width - sizes[i])
    return rows


def cells_of(
    examples: Sequence[Item], apart: bool = False
) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Flat positions of the tokens that each example adds to the rows, and the rows' shape (B, W).

    Args:
        apart: whether only examples with shared tokens share a row.
    """
    heads = [i for i, example in enumerate(examples) if not example.shared]
    groups = [range(i, j) for i, j in zip(heads, [*heads[1:], len(examples)], strict=True)]
    fed = [example.fed() for example in examples]
    sizes = [sum(fed[i] for i in group) for group in groups]
    placed = [[i] for i in range(len(groups))] if apart else shelves(sizes)
    width = max(sum(sizes[i] for i in row) for row in placed)
    cells = [np.empty(0, np.int64)] * len(examples)
    for b, row in enumerate(placed):
        start = b * width
        for i in (i for group in row for i in groups[group]):
            cells[i] = np.arange(start, start + fed[i])
            start += fed[i]
    return cells, (len(placed), width)


def arrange(
    examples: Sequence[Item],
    device: str,
    dtype: torch.dtype = torch.float32,
    apart: bool = False,
) -> Rows:
    """The rows of these examples.

    Args:
        dtype: of the mask; the model's.
        apart: whether only examples with shared tokens share a row.
    """
    cells, shape = cells_of(examples, apart)
    count = shape[0] * shape[1]
    ids, positions, owner, stem, branch = (np.zeros(count, np.int64) for _ in range(5))
    # The number of each cell's group of examples; empty cells have one each and see themselves.
    group = -1 - np.arange(count)
    before: list[int] = []
    targets: list[int] = []
    candidate: list[int] = []
    done = head = 0
    for number, (item, cell) in enumerate(zip(examples, cells, strict=True)):
        head = head if item.shared else number
        start = len(item.prompt) - item.shared
        group[cell], owner[cell], stem[cell] = head, item.run, number + 1
        if item.shared:
            stem[cells[head][: item.shared]] = 0
        ids[cell[:start]] = item.prompt[item.shared :]
        positions[cell[:start]] = np.arange(item.shared, len(item.prompt))
        first = start
        for c, tokens in enumerate(item.candidates):
            part = cell[first : first + len(tokens) - 1]
            ids[part], branch[part] = tokens[:-1], c + 1
            positions[part] = len(item.prompt) + np.arange(len(part))
            before += [cell[start - 1], *part]
            targets += tokens
            candidate += [done + c] * len(tokens)
            first += len(part)
        done += len(item.candidates)
    predicting, predictors = np.unique(np.array(before, np.int64), return_inverse=True)
    queries, asked = _queries(predicting, shape)

    def tensor(values: np.ndarray | list[int]) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=device)

    by_row = [tensor(x).view(shape) for x in (ids, positions, owner, group, stem, branch)]
    return Rows(
        ids=by_row[0],
        positions=by_row[1],
        owner=by_row[2],
        mask=_mask(by_row[3], by_row[4], by_row[5], dtype),
        cells=tensor(predicting),
        queries=tensor(queries),
        asked=tensor(asked),
        predictors=tensor(predictors),
        targets=tensor(targets),
        candidate=tensor(candidate),
        lengths=tensor([len(tokens) for item in examples for tokens in item.candidates]),
        counts=[len(item.candidates) for item in examples],
    )


def _queries(cells: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """`Rows.queries` and `Rows.asked` of these cells, in ascending order, of rows (B, W)."""
    row, column = np.divmod(cells, shape[1])
    slot = np.arange(len(row)) - np.searchsorted(row, row)
    queries = np.zeros((shape[0], slot.max(initial=0) + 1), np.int64)
    queries[row, slot] = column
    return queries, row * queries.shape[1] + slot


def _mask(
    group: torch.Tensor, stem: torch.Tensor, branch: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Lets each token see earlier ones of its example: shared ones, its prompt, its candidate."""

    def same(of: torch.Tensor, or_first: bool = True) -> torch.Tensor:
        equal = of[:, None, :] == of[:, :, None]
        return equal | (of[:, None, :] == 0) if or_first else equal

    visible = (same(group, False) & same(stem) & same(branch)).tril()
    mask = torch.zeros(visible.shape, dtype=dtype, device=group.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]
