"""A device that holds passes of so many tokens and no larger ones; planted by `forked.Launcher`."""

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from support import moments

from beft.engine.decoder import answer, losses
from beft.engine.decoder import gradients as decoder_gradients
from beft.engine.encoder import gradients, packed, padded

PASSES = [
    *((module, "flatten") for module in (packed, gradients)),
    *((module, "arrange") for module in (answer, losses, decoder_gradients)),
    (padded, "collate"),
]


def tokens_of(pass_: Any) -> int:
    """Of a row of tokens, or of a padded batch; 0 where a batch is trained, which is never cut."""
    if isinstance(pass_, dict):
        return 0 if torch.is_grad_enabled() else pass_["input_ids"].numel()
    return pass_.ids.numel()


def limit(tokens: int) -> None:
    """Every larger pass is refused, as a GPU does whose memory is used up."""

    def refusing(make: Callable) -> Callable:
        @functools.wraps(make)
        def made(*arguments, **options):
            found = make(*arguments, **options)
            if tokens_of(found) > tokens:
                raise torch.OutOfMemoryError(f"CUDA out of memory ({tokens_of(found)} tokens)")
            return found

        return made

    for module, name in PASSES:
        setattr(module, name, refusing(getattr(module, name)))


def limit_until_killed(tokens: int) -> None:
    """The same, and the process is killed in its third step."""
    moments.watch(os.devnull, "step", 3, 1)
    limit(tokens)
