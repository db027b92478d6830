"""Whether an encoder can be computed without padding: a row must give the padded batch's logits."""

import logging

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.encoder.evaluate import evaluate
from beft.engine.encoder.flat import first_position, flatten
from beft.engine.encoder.frozen import frozen_linears
from beft.engine.encoder.padded import predict
from beft.engine.encoder.rowwise import computing, heads, pooled_states
from beft.engine.encoder.table import table_of
from beft.engine.shares import Share
from beft.errors import one_line
from beft.models.encoder import Encoder

log = logging.getLogger(__name__)


def computes_rows(encoder: Encoder, device: str) -> bool:
    """Whether a row of three short sequences gives the model's own logits.

    An architecture whose attention is not a plain function of query, key and value (relative
    positions, for one) fails or differs.
    """
    special = set(encoder.tokenizer.all_special_ids)
    words = [i for i in range(len(encoder.tokenizer)) if i not in special][:15]
    types = "token_type_ids" in encoder.tokenizer.model_input_names
    ids = [words[:3], words[3:10], words[10:15]]
    data = Encoded(ids, [[0] * len(i) for i in ids] if types else None, torch.zeros(3))
    try:
        got = _logits(encoder, data, device)
    except (TypeError, AttributeError, RuntimeError, KeyError, ValueError, IndexError) as error:
        reason = one_line(error, 300)
        log.info("its runs take the padded path, one by one: %s", reason)
        return False
    expected = predict(encoder, data, device, "float32")
    return bool(np.allclose(got, expected, rtol=1e-4, atol=1e-5))


@torch.inference_mode()
def _logits(encoder: Encoder, data: Encoded, device: str) -> np.ndarray:
    """Logits (n, labels) from one row, with one set of biases and one head for all sequences."""
    if encoder.sites.fused:
        raise TypeError("q, k and v are rows of one bias, and a slot holds a whole one")
    row = flatten(
        [Share(0, data, np.arange(len(data)))], first_position(encoder.model.base_model), device
    )
    head = {name: encoder.model.get_parameter(name)[None] for name in encoder.head}
    table = table_of(encoder, torch.float32)
    if table is not None:
        return heads(encoder, row, evaluate(table, row, {}), head).cpu().numpy()
    with computing(encoder, row, frozen_linears(encoder, torch.float32), {}):
        return heads(encoder, row, pooled_states(encoder, row), head).cpu().numpy()
