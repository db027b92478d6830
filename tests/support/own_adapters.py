"""Adapters of tiny models, made without training: their biases and heads are drawn."""

from pathlib import Path

import torch
from support import tiny

from beft.models.encoder import load_encoder
from beft.tuning.adapter_format import FORMAT, Adapted, Base, Facts, files_of
from beft.tuning.base_model import sums_of
from beft.tuning.host import name_in

BAD_GOOD = ("bad", "good")


def model(folder: Path, architecture: str = "bert") -> Path:
    """A tiny checkpoint."""
    return tiny.checkpoint(architecture, folder)


def adapter(
    folder: Path,
    base: Path,
    *,
    terms: tuple[str, ...] = ("v",),
    classes: tuple[str, ...] = BAD_GOOD,
    seed: int = 0,
    **changes: object,
) -> Path:
    """The two files that `beft predict` reads, in a folder.

    Args:
        base: the folder of its model.
        changes: to `Facts`.
    """
    encoder = load_encoder(base, len(classes) or 1)
    generator = torch.Generator().manual_seed(seed)
    sites = [site for site in encoder.sites.sites if site.term in terms]
    parameters = dict.fromkeys((*(site.parameter for site in sites), *encoder.head))
    values = {
        name_in(encoder, name, "first"): torch.empty(
            encoder.model.get_parameter(name).shape
        ).normal_(generator=generator)
        for name in parameters
    }
    given: dict = {
        "format": FORMAT,
        "base": Base(path=str(base), sha256=sums_of(base)),
        "technique": "b_v",
        "terms": list(terms),
        "pooling": "first",
        "max_length": 16,
        "precision": "float32",
        "texts": ["text"],
        "label": "label",
        "classes": list(classes),
        "mean": 0.0,
        "deviation": 1.0,
    }
    folder.mkdir(parents=True)
    for name, content in files_of(Adapted(Facts(**given | changes), values)).items():
        (folder / name).write_bytes(content)
    return folder
