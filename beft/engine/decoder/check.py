"""Whether a decoder can be computed in rows: a row must give the decoder's own log-likelihoods."""

import numpy as np
import torch
from transformers import PreTrainedModel

from beft.engine.decoder.likelihood import candidate_scores
from beft.engine.decoder.rows import Item, arrange
from beft.errors import UserError, one_line
from beft.models.decoder import Decoder


@torch.inference_mode()
def check_rows(decoder: Decoder, device: str, label: str) -> None:
    """Scores candidates of two short prompts in one pass, and one by one without a mask.

    Args:
        label: what messages call the model.

    Raises:
        UserError: the scores are not finite; or they differ, as in models that derive positions
            from the index in the row (ALiBi) or ignore the mask.
    """
    special = set(decoder.tokenizer.all_special_ids)
    ids = [i for i in range(len(decoder.tokenizer)) if i not in special][:12]
    examples = [Item(0, ids[:5], [ids[5:8], ids[8:10]]), Item(0, ids[8:11], [ids[:2], ids[2:4]])]
    kind = decoder.model.config.model_type
    if "local" in getattr(decoder.model.config, "attention_layers", ()):
        raise _unsupported(label, kind, " (its local attention counts positions in a row)")
    try:
        rows = arrange(examples, device, decoder.model.dtype)
        got = candidate_scores(decoder.model, rows).cpu().numpy()
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise _unsupported(label, kind, f" ({one_line(error, 200)})") from error
    expected = [_alone(decoder.model, item.prompt, c) for item in examples for c in item.candidates]
    if not np.isfinite(expected).all():
        raise UserError(
            f"{label}: what it computes of a text is not finite in {decoder.model.dtype}: the "
            "weights are damaged, or too large for this precision; use another copy of them, or "
            "'precision: float32'"
        )
    close = 1e-3 if decoder.model.dtype == torch.float32 else 0.3
    if not np.allclose(got, expected, rtol=0, atol=close):
        raise _unsupported(label, kind, "")


def _alone(model: PreTrainedModel, prompt: list[int], candidate: list[int]) -> float:
    """The log-likelihood of one candidate, from the model without rows."""
    ids = torch.tensor([prompt + candidate], device=model.device)
    logits = model(ids).logits[0, len(prompt) - 1 : -1].float()
    return float(torch.log_softmax(logits, 1)[range(len(candidate)), candidate].sum())


def _unsupported(label: str, kind: str, detail: str) -> UserError:
    return UserError(
        f"{label}: '{kind}' does not take given positions and masks{detail}; use a "
        "decoder such as OPT, GPT-2, GPT-NeoX, GPT-J, Llama, Mistral, Qwen, Gemma or Phi"
    )
