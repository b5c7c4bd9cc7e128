"""Keras layers and losses for fine-grained visual classification: `fgvc.layers`, `fgvc.losses`.

Importing it registers every layer of a run's `model.keras` with Keras, which can then load it.
"""

from . import layers, losses, model_layers

__all__ = ["layers", "losses", "model_layers"]
