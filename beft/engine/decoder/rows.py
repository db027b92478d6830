"""Rows of tokens for one pass of a decoder: each prompt once, its candidates as branches.

A candidate's tokens attend to the prompt and to earlier tokens of the same candidate, so that one
pass gives the likelihood of all candidates. Short examples share a row. The last token of a
candidate predicts nothing and is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from beft.data.prompts import Prompts

WIDTH = 256  # tokens of a row that several examples share; longer examples do not share a row


@dataclass(frozen=True)
class Item:
    """One example in a pass: the run it belongs to, its prompt, and the candidates to score."""

    run: int
    prompt: list[int]
    candidates: list[list[int]]

    def fed(self) -> int:
        """Tokens that the model reads."""
        return len(self.prompt) + sum(len(c) - 1 for c in self.candidates)


@dataclass(frozen=True)
class Rows:
    """One pass."""

    # ids, positions: (B, W) tokens, and their positions in their sequences
    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor  # (B, 1, W, W) added to attention scores: 0 or the type's lowest number
    owner: torch.Tensor  # (B, W) the run of each token
    cells: torch.Tensor  # (K,) flat positions (of B * W) at which logits are computed
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


def cells_of(examples: Sequence[Item]) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Flat positions of each example's tokens in the rows, and the shape (B, W) of the rows."""
    sizes = [example.fed() for example in examples]
    placed = shelves(sizes)
    width = max(sum(sizes[i] for i in row) for row in placed)
    cells = [np.empty(0, np.int64)] * len(sizes)
    for b, row in enumerate(placed):
        start = b * width
        for i in row:
            cells[i] = np.arange(start, start + sizes[i])
            start += sizes[i]
    return cells, (len(placed), width)


def arrange(examples: Sequence[Item], device: str, dtype: torch.dtype = torch.float32) -> Rows:
    """The rows of these examples.

    Args:
        dtype: of the mask; the model's.
    """
    cells, shape = cells_of(examples)
    ids, positions, owner, branch = (np.zeros(shape[0] * shape[1], np.int64) for _ in range(4))
    # The number of each cell's example; empty cells have one each and attend to themselves.
    example = -1 - np.arange(len(ids))
    before: list[int] = []
    targets: list[int] = []
    candidate: list[int] = []
    done = 0
    for number, (item, cell) in enumerate(zip(examples, cells, strict=True)):
        start = len(item.prompt)
        example[cell], owner[cell] = number, item.run
        ids[cell[:start]], positions[cell[:start]] = item.prompt, np.arange(start)
        first = start
        for c, tokens in enumerate(item.candidates):
            part = cell[first : first + len(tokens) - 1]
            ids[part], branch[part] = tokens[:-1], c + 1
            positions[part] = start + np.arange(len(part))
            before += [cell[start - 1], *part]
            targets += tokens
            candidate += [done + c] * len(tokens)
            first += len(part)
        done += len(item.candidates)
    predicting, predictors = np.unique(np.array(before, np.int64), return_inverse=True)

    def tensor(values: np.ndarray | list[int]) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=device)

    return Rows(
        ids=tensor(ids).view(shape),
        positions=tensor(positions).view(shape),
        mask=_mask(tensor(example).view(shape), tensor(branch).view(shape), dtype),
        owner=tensor(owner).view(shape),
        cells=tensor(predicting),
        predictors=tensor(predictors),
        targets=tensor(targets),
        candidate=tensor(candidate),
        lengths=tensor([len(tokens) for item in examples for tokens in item.candidates]),
        counts=[len(item.candidates) for item in examples],
    )


def _mask(example: torch.Tensor, branch: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Lets each token attend to earlier tokens of its example: the prompt and its candidate."""
    same = example[:, :, None] == example[:, None, :]
    visible = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    width = example.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool, device=example.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=example.device)
    return mask.masked_fill_(~(same & visible & earlier), torch.finfo(dtype).min)[:, None]
