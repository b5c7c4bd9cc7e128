"""Carving one part out of a split, stratified and by seed."""

import numpy as np

from errors import UserError


def carve(
    rows: np.ndarray, labels: np.ndarray, fraction: float, seed: int, class_names: list[str],
    key: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves `fraction` of each class from `rows` into a part of its own.

    Args:
        rows: positions to divide, int64 of shape (n,).
        labels: classes of *all* pictures; `labels[rows]` are those to stratify by.
        fraction: share of each class to move, in [0, 1); at least one picture a class moves.
        seed: the same seed gives the same parts.
        class_names: names for the error message.
        key: the configuration key to name in the error message.

    Returns:
        What stays and what moved, both sorted.

    Raises:
        UserError: the fraction is out of range, or a class has fewer than two pictures.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"{key}={fraction}: must be at least 0 and below 1")
    if fraction == 0:
        return rows, rows[:0]
    moved = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        count = max(1, round(fraction * len(members)))
        if count >= len(members):
            raise UserError(
                f"class {class_names[label]!r} has too few pictures ({len(members)}) to set "
                f"{key}={fraction} of them apart; add pictures or change {key}"
            )
        moved.append(np.random.default_rng([seed, label]).permutation(members)[:count])
    moved = np.sort(np.concatenate(moved))
    return np.setdiff1d(rows, moved), moved
