"""Layers of a run's saved model, besides those of `layers`. They import nothing of the project."""

from .adapter import LowRankAdapter
from .image_tokens import ImageTokens
from .inference_mode import InferenceMode
from .normalization import Normalization
from .preprocessing import Preprocessing
from .preset_encoder import PresetEncoder

__all__ = [
    "ImageTokens",
    "InferenceMode",
    "LowRankAdapter",
    "Normalization",
    "Preprocessing",
    "PresetEncoder",
]
