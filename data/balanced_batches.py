"""Batches of P classes times K pictures, for losses that compare the samples of a batch."""

import dataclasses

import numpy as np

from conf.schema import TrainerConfig
from errors import UserError


@dataclasses.dataclass(frozen=True)
class BalancedBatches:
    """How many classes a batch has, and how many pictures of each."""

    classes: int
    images: int

    def steps(self, indices: np.ndarray) -> int:
        """Batches in an epoch: as many as hold about as many samples as there are."""
        return max(1, round(len(indices) / (self.classes * self.images)))

    def batches(self, indices: np.ndarray, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """The rows of each batch of an epoch; they depend on the arguments alone.

        Each batch takes the classes of which most is unread, so that an epoch reads the data about
        once. The pictures of one class in one batch differ, unless it has fewer than `pictures`.

        Args:
            rows: what to read, int64 of shape (n,).
            labels: classes of *all* pictures; `labels[rows]` are those to balance.

        Returns:
            int64 of shape (`steps(rows)`, `classes` * `pictures`), a class's pictures together.
        """
        rng = np.random.default_rng([seed, epoch])
        members = [
            rng.permutation(indices[labels[indices] == c]) for c in np.unique(labels[indices])
        ]
        sizes = np.array([len(group) for group in members])
        read = np.zeros(len(members), np.int64)
        batches = []
        for _ in range(self.steps(indices)):
            urgency = sizes - read + rng.random(len(members))  # ties by chance
            chosen = np.argsort(-urgency)[: self.classes]
            positions = (read[chosen, None] + np.arange(self.images)) % sizes[chosen, None]
            batches.append([members[c][place] for c, place in zip(chosen, positions, strict=True)])
            read[chosen] += self.images
        return rng.permutation(np.reshape(batches, (len(batches), -1)))


def balance_of(
    config: TrainerConfig, indices: np.ndarray, labels: np.ndarray
) -> BalancedBatches | None:
    """The balance that `config` asks for; `None` leaves batches to chance.

    Args:
        rows: what is to be trained on.
        labels: classes of all pictures.

    Raises:
        UserError: a batch would have more classes than there are.
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
