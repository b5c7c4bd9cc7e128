"""A second stream of samples, which a stage trains together with its first one."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.balanced_batches import BalancedBatches
from data.inputs import Inputs
from data.pipeline import training_batches


@dataclasses.dataclass(frozen=True)
class Stream:
    """Samples of one class, repeated for as long as the other stream lasts.

    Attributes:
        inputs: see `data/inputs.py`.
        labels: integer labels of all images, int64.
        indices: the samples to read.
    """

    inputs: Inputs
    labels: np.ndarray
    indices: np.ndarray

    def paired_with(
        self, batches: tf.data.Dataset, steps: int, batch_size: int, seed: int, first_epoch: int
    ) -> tf.data.Dataset:
        """Returns endless batches of ((sample, own sample), (label, own label)).

        An own batch has `batch_size` different samples, or all samples if there are fewer. Their
        order depends on (seed, epoch) alone.

        Args:
            batches: the other stream, from `first_epoch` on.
            steps: number of batches in an epoch of the other stream.
            batch_size: samples in an own batch.
            seed: seed of the order.
            first_epoch: epoch of the other stream from which training starts or resumes.
        """
        balance = BalancedBatches(1, min(batch_size, len(self.indices)))
        epoch, skipped = divmod(first_epoch * steps, balance.steps(self.indices))
        own = training_batches(
            self.inputs, self.labels, self.indices, None, batch_size, seed, epoch, balance
        )
        both = tf.data.Dataset.zip(batches, own.skip(skipped)).map(
            lambda first, second: tuple(zip(first, second, strict=True))
        )
        both.streams = batches, own  # keeps both alive
        return both
