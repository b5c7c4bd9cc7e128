"""Keras layers and losses for fine-grained visual classification: `fgvc.layers`, `fgvc.losses`."""
