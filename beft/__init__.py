"""BEFT: choose and fine-tune one bias term per attention layer of a language model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beft.tuning.notebook import load, tune

__version__ = "0.3.0"
__all__ = ["load", "tune"]


def __getattr__(name: str) -> Any:
    """Imports what notebooks use on first use: `import beft` loads neither torch nor pandas."""
    if name in __all__:
        from beft.tuning import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'beft' has no attribute '{name}'")
