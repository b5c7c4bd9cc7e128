"""Layers of a run's saved model, besides those of `layers`. They import nothing of the project."""

from .adapter import LowRankAdapter
from .inference_mode import InferenceMode
from .preprocessing import Preprocessing

__all__ = ["InferenceMode", "LowRankAdapter", "Preprocessing"]
