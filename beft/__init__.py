"""BEFT: choose and fine-tune one bias term per attention layer of a language model."""

__version__ = "0.3.0"
