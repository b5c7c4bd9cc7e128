"""Keras losses of embeddings, on any Keras backend."""

from .center_loss import CenterLoss
from .compactness_loss import CompactnessLoss
from .triplet_hard_loss import TripletHardLoss
from .triplet_semi_hard_loss import TripletSemiHardLoss

__all__ = ["CenterLoss", "CompactnessLoss", "TripletHardLoss", "TripletSemiHardLoss"]
