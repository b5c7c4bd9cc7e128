"""Groups of classes at several levels, such as family and manufacturer of an aircraft."""

import numpy as np

Levels = dict[str, list[str]]  # by level: the name of the group of each class


def groups_by_level(levels: Levels) -> dict[str, np.ndarray]:
    """Returns the number of the group of each class by level, the finest level first.

    A finer level has more groups. If levels are nested, so that each group of the finer one lies in
    one group of the coarser one, this is the order of nesting: only equal divisions have equally
    many groups.

    Returns:
        For each level, integers from 0, (classes,). Groups are numbered in the order of their
        names.
    """
    groups = {level: np.unique(names, return_inverse=True)[1] for level, names in levels.items()}
    return dict(sorted(groups.items(), key=lambda item: -item[1].max()))


def hierarchical_distances(
    labels: np.ndarray, predictions: np.ndarray, levels: Levels
) -> np.ndarray:
    """Returns the height of the lowest common ancestor of true and predicted class, int64, (n,).

    The height counts levels (Bertinetto et al., "Making Better Mistakes", CVPR 2020): 0 for the
    true class, 1 for another class of its group at the finest level, and so on. Classes that share
    no group meet at the root, one above the coarsest level.

    It is the number of levels, that of the classes included, at which the prediction is wrong. So
    it does not depend on the order of `levels`, and is defined for levels that are not nested.

    Args:
        labels: True classes, (n,).
        predictions: Predicted classes, (n,); -1: none, which is wrong at every level.
        levels: The name of the group of each class, by level.
    """
    wrong = [labels != predictions]
    for groups in groups_by_level(levels).values():
        wrong.append((groups[labels] != groups[predictions]) | (predictions < 0))
    return np.sum(wrong, axis=0)
