"""Two small decoders in the language of the demo tasks, and how they were pretrained."""
