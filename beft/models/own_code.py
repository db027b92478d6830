"""Decide what to do with a checkpoint that comes with code of its own, which is never run."""

import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig

from beft.errors import UserError, one_line

AUTO_MAP = "auto_map"


def check_own_code(config: dict, label: str) -> bool:
    """Whether config.json names code of the model's own, under names that transformers has itself.

    Such code was taken over into transformers, which computes the model without it. A class of
    another name may compute something else with the same weights.

    Args:
        config: The content of config.json.

    Raises:
        UserError: It names a class that transformers does not have for this `model_type`.
    """
    named = config.get(AUTO_MAP)
    if not named:
        return False
    kind = str(config.get("model_type"))
    # `get` would not import the class
    known = CONFIG_MAPPING[kind] if kind in CONFIG_MAPPING else None  # noqa: SIM401
    for auto, name in named.items() if isinstance(named, dict) else [("", "")]:
        if known is None or _last(name) not in _own(auto, known):
            raise UserError(
                f"{label}: config.json has '{AUTO_MAP}': the model comes with code of its own, "
                "which is never run: use a model that transformers computes itself; if "
                f"transformers' own '{one_line(kind, 60)}' computes this one too, delete the key "
                "in a copy of the model and name the copy with 'path:'"
            )
    return True


def _last(name: object) -> str:
    """The class in `repository--file.Class`, in small letters."""
    return name.rpartition(".")[2].casefold() if isinstance(name, str) else ""


def _own(auto: str, known: type[PreTrainedConfig]) -> set[str]:
    """The classes that transformers has for a configuration, in small letters."""
    if auto == "AutoConfig":
        return {known.__name__.casefold()}
    mapping = getattr(getattr(transformers, auto, None), "_model_mapping", {})
    if not auto.startswith("AutoModel") or known not in mapping:
        return set()
    found = mapping[known]
    return {each.__name__.casefold() for each in (found if isinstance(found, tuple) else (found,))}
