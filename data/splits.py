"""Divides images into splits: stratified by class, or by class."""

import numpy as np

from errors import UserError


def by_class(indices: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Returns the indices of each class that has some, in the order of the labels.

    Args:
        indices: int64 of shape (n,). Their order is kept within a class.
        labels: the labels of all images.
    """
    sorted_labels = labels[indices]
    order = np.argsort(sorted_labels, kind="stable")
    sorted_labels = sorted_labels[order]
    starts = np.flatnonzero(sorted_labels[1:] != sorted_labels[:-1]) + 1
    return np.split(indices[order], starts) if len(indices) else []


def stratified_split(
    indices: np.ndarray,
    labels: np.ndarray,
    fraction: float,
    seed: int,
    class_names: list[str],
    key: str,
    minimum: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves a fraction of each class from one split into a new one.

    Args:
        indices: the images to divide, int64 of shape (n,).
        labels: the labels of *all* images; `labels[indices]` are those to stratify by.
        fraction: of each class to move, in [0, 1); 0 moves nothing.
        seed: the same seed gives the same splits.
        class_names: for the error message.
        key: the configuration key of `fraction`, for the error message.
        minimum: number of images to move of each class at least. Default: 1.

    Returns:
        The remaining indices and the moved ones, both sorted.

    Raises:
        UserError: the fraction is out of range, or a class has too few images.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"{key}={fraction}: must be at least 0 and below 1")
    if fraction == 0:
        return indices, indices[:0]
    moved_of_each_class = []
    for members in by_class(indices, labels):
        label = labels[members[0]]
        count = max(minimum, round(fraction * len(members)))
        if count >= len(members):
            raise UserError(
                f"class {class_names[label]!r} has too few images ({len(members)} left) for "
                f"{key}={fraction}; add images or change {key}"
            )
        rng = np.random.default_rng([seed, label])
        moved_of_each_class.append(rng.permutation(members)[:count])
    moved = np.sort(np.concatenate(moved_of_each_class))
    return np.setdiff1d(indices, moved), moved


def split_by_class(
    indices: np.ndarray, labels: np.ndarray, val_fraction: float, seed: int, class_names: list[str]
) -> dict[str, np.ndarray]:
    """The splits of metric learning: the first half of the classes trains, the others test.

    If the number of classes is odd, the class in the middle trains. The validation split takes a
    fraction of each training class, at least two images: a single one has no other to retrieve.

    Args: see `stratified_split`.

    Returns:
        The sorted indices of "train", "val" and "test".

    Raises:
        UserError: see `stratified_split`; or there are fewer than four classes.
    """
    if len(class_names) < 4:
        raise UserError(
            "task=metric_learning: it tests on other classes than it trains on, and needs at least "
            f"4; the data has {len(class_names)}"
        )
    train = labels[indices] < -(-len(class_names) // 2)
    kept, val = stratified_split(
        indices[train], labels, val_fraction, seed, class_names, "data.val_fraction", minimum=2
    )
    return {"train": kept, "val": val, "test": indices[~train]}
