"""Check that a model uses every tensor of its checkpoint that belongs to its own modules."""

from collections.abc import Callable, Collection, Iterable

from transformers import PreTrainedModel

from beft.errors import UserError, one_line
from beft.models.pretrained import Stored

# Old checkpoints hold what the model computes itself: masks, positions, frequencies.
_COMPUTED = ("position_ids", "token_type_ids", "inv_freq", "masked_bias")
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}  # of layer norms, which transformers renames


def check_leftover(
    model: PreTrainedModel,
    unused: Collection[str],
    stored: dict[str, Stored],
    label: str,
    in_head: Callable[[PreTrainedModel, str], bool],
) -> None:
    """Check that nothing of a checkpoint is dropped but heads, and that nothing is there twice.

    A layer, a bias or an unmerged adapter that the configuration does not mention would be left out
    without a word, and another model trained.

    Args:
        model: The loaded model.
        unused: The names of the tensors that it does not use.
        stored: The tensors of the checkpoint.
        label: What messages call the model.
        in_head: Whether a parameter belongs to the head.

    Raises:
        UserError: A tensor belongs to the model's own modules and is not used, or two tensors are
            for one parameter; the message names them.
    """
    prefix = f"{model.base_model_prefix}."
    _check_once(stored, prefix, label)
    base = model.base_model
    own = {
        name
        for name, module in base.named_children()
        if any(True for _ in module.parameters()) and not in_head(model, f"{prefix}{name}.weight")
    }
    lost = sorted(
        name
        for name in unused
        if name.removeprefix(prefix).partition(".")[0] in own and not _computed(name, stored)
    )
    if lost:
        raise UserError(
            f"{label}: the model that config.json describes does not use {len(lost)} of the "
            f"checkpoint's tensors, such as {one_line(lost[0], 200)}: correct config.json (its "
            "number of layers, 'attention_bias'), merge adapters into the weights, or use another "
            "model"
        )


def _computed(name: str, stored: dict[str, Stored]) -> bool:
    """Whether a tensor is a buffer: the mask of GPT-2's attention is called a bias."""
    tensor = stored.get(name)
    mask = tensor is not None and name.endswith("bias") and len(tensor.shape) not in (1, 2)
    return mask or name.rpartition(".")[2] in _COMPUTED


def _check_once(names: Iterable[str], prefix: str, label: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        path, _, last = name.removeprefix(prefix).rpartition(".")
        plain = f"{path}.{_OLD_NAMES.get(last, last)}"
        if plain in seen:
            raise UserError(
                f"{label}: the checkpoint holds one parameter twice, as "
                f"{one_line(seen[plain], 150)} and {one_line(name, 150)}; use another checkpoint"
            )
        seen[plain] = name
