"""Batches of P classes times K images, for losses that compare the samples of a batch."""

import dataclasses

import numpy as np

from conf.schema import TrainerConfig
from errors import UserError


@dataclasses.dataclass(frozen=True)
class BalancedBatches:
    """The number of classes in a batch, and the number of images of each."""

    classes: int
    images: int

    def steps(self, indices: np.ndarray) -> int:
        """The number of batches in an epoch: together they have about `len(indices)` samples."""
        return max(1, round(len(indices) / (self.classes * self.images)))

    def batches(self, indices: np.ndarray, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """The indices of each batch of an epoch, which depend only on the arguments.

        Each batch takes the classes with the most unread images, so an epoch reads the data about
        once. The images of a class in one batch differ, unless the class has fewer than `images`.

        Args:
            indices: the images to read, int64 of shape (n,).
            labels: the labels of *all* images; `labels[indices]` are those to balance.
            seed: of the random choices.
            epoch: its number, from 0.

        Returns:
            int64 of shape (`steps(indices)`, `classes` * `images`), grouped by class.
        """
        rng = np.random.default_rng([seed, epoch])
        own = labels[indices]
        members = [rng.permutation(indices[own == label]) for label in np.unique(own)]
        sizes = np.array([len(group) for group in members])
        read = np.zeros(len(members), np.int64)
        batches = []
        for _ in range(self.steps(indices)):
            urgency = sizes - read + rng.random(len(members))  # random ties
            chosen = np.argsort(-urgency)[: self.classes]
            positions = (read[chosen, None] + np.arange(self.images)) % sizes[chosen, None]
            batches.append([members[c][place] for c, place in zip(chosen, positions, strict=True)])
            read[chosen] += self.images
        return rng.permutation(np.reshape(batches, (len(batches), -1)))


def balanced_batches(
    config: TrainerConfig, indices: np.ndarray, labels: np.ndarray
) -> BalancedBatches | None:
    """The balanced batches that `config` asks for; `None` for random batches.

    Args:
        indices: the training images.
        labels: the labels of all images.

    Raises:
        UserError: a batch would have more classes than the training images.
    """
    if config.classes_per_batch is None:
        return None
    classes = len(np.unique(labels[indices]))
    if config.classes_per_batch > classes:
        raise UserError(
            f"trainer.classes_per_batch={config.classes_per_batch}: there are only {classes} "
            "classes to train on"
        )
    return BalancedBatches(config.classes_per_batch, config.pictures_per_class)
