"""BEFT: choose and fine-tune one bias term per attention layer of a language model."""

from importlib import import_module
from typing import Any

__version__ = "0.3.0"
__all__ = ["load", "tune"]  # of beft/tuning/notebook.py


def __getattr__(name: str) -> Any:
    """Imports what notebooks use on first use: `import beft` loads neither torch nor pandas."""
    if name in __all__:
        return getattr(import_module("beft.tuning.notebook"), name)
    raise AttributeError(f"module 'beft' has no attribute '{name}'")
