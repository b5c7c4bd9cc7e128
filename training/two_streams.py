"""Two streams of samples through one network: a second one beside that which a stage reads."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.balanced_batches import BalancedBatches
from data.inputs import Inputs
from data.pipeline import training_batches


@dataclasses.dataclass(frozen=True)
class Stream:
    """Samples of one class, read in whole batches for as long as the other stream lasts.

    Attributes:
        inputs: see `data/inputs.py`.
        labels: classes of all pictures.
        rows: what to read.
    """

    inputs: Inputs
    labels: np.ndarray
    indices: np.ndarray

    def beside(
        self, batches: tf.data.Dataset, steps: int, batch_size: int, seed: int, first_epoch: int
    ) -> tf.data.Dataset:
        """Endless batches of ((sample, own sample), (label, own label)).

        An own batch has `batch_size` different samples, or all of them where there are fewer. Its
        order too depends on (seed, epoch) alone.

        Args:
            batches: the other stream, from `first_epoch` on.
            steps: its batches in an epoch.
        """
        balance = BalancedBatches(1, min(batch_size, len(self.indices)))
        epoch, skipped = divmod(first_epoch * steps, balance.steps(self.indices))
        own = training_batches(
            self.inputs, self.labels, self.indices, None, batch_size, seed, epoch, balance
        )
        both = tf.data.Dataset.zip(batches, own.skip(skipped)).map(
            lambda first, second: tuple(zip(first, second, strict=True))
        )
        both.streams = batches, own  # live as long as their batches
        return both
