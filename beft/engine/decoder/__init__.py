"""Decoders (causal language models): loaded, prompted, tuned and scored."""
