"""Carving one part out of a split, stratified and by seed."""

import numpy as np

from errors import UserError


def stratified_split(
    indices: np.ndarray,
    labels: np.ndarray,
    fraction: float,
    seed: int,
    class_names: list[str],
    key: str,
    least: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves `fraction` of each class from `rows` into a part of its own.

    Args:
        rows: positions to divide, int64 of shape (n,).
        labels: classes of *all* pictures; `labels[rows]` are those to stratify by.
        fraction: share of each class to move, in [0, 1); 0 moves nothing.
        seed: the same seed gives the same parts.
        class_names: names for the error message.
        key: the configuration key to name in the error message.
        least: pictures of each class that move at least.

    Returns:
        What stays and what moved, both sorted.

    Raises:
        UserError: the fraction is out of range, or a class has too few pictures.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"{key}={fraction}: must be at least 0 and below 1")
    if fraction == 0:
        return indices, indices[:0]
    moved = []
    for label in np.unique(labels[indices]):
        members = indices[labels[indices] == label]
        count = max(least, round(fraction * len(members)))
        if count >= len(members):
            raise UserError(
                f"class {class_names[label]!r} has too few pictures ({len(members)} left) to set "
                f"{key}={fraction} of them apart; add pictures or change {key}"
            )
        moved.append(np.random.default_rng([seed, label]).permutation(members)[:count])
    moved = np.sort(np.concatenate(moved))
    return np.setdiff1d(indices, moved), moved


def disjoint_classes(
    indices: np.ndarray, labels: np.ndarray, val_fraction: float, seed: int, class_names: list[str]
) -> dict[str, np.ndarray]:
    """The split of metric learning: the first half of the classes trains, the others test.

    Of an odd number of classes the one in the middle trains. Validation is carved from the training
    classes, at least two pictures of each: one alone could not be found by another.

    Args: see `carve`.

    Raises:
        UserError: see `carve`; or there are fewer than four classes.
    """
    if len(class_names) < 4:
        raise UserError(
            "task=metric_learning: tests on other classes than it trains on, and takes at least "
            f"4; there are {len(class_names)}"
        )
    train = labels[indices] < -(-len(class_names) // 2)
    kept, val = stratified_split(
        indices[train], labels, val_fraction, seed, class_names, "data.val_fraction", least=2
    )
    return {"train": kept, "val": val, "test": indices[~train]}
