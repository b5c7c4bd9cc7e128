"""Coarser classes in the place of those of a data set, such as families of aircraft."""

import copy
import dataclasses

import numpy as np

from data.collection import Collection
from errors import UserError


def at_level(collection: Collection, level: str) -> Collection:
    """Returns a collection whose classes are the groups of one of its levels, sorted by name.

    A coarser level remains if each of these groups lies in one of its groups.

    Args:
        collection: the images; it stays as it is.
        level: a key of its levels.

    Raises:
        UserError: the collection has no such level.
    """
    if level not in collection.levels:
        known = ", ".join(collection.levels) or "none"
        raise UserError(f"data.level={level}: the data have no such level; they have: {known}")
    groups = collection.levels[level]
    names, numbers = np.unique(groups, return_inverse=True)
    levels, order = {}, list(collection.levels)
    for other in order[order.index(level) + 1 :]:
        coarser = collection.levels[other]
        above = dict(zip(groups, coarser, strict=True))
        if all(above[a] == b for a, b in zip(groups, coarser, strict=True)):
            levels[other] = [above[name] for name in names.tolist()]
    images = copy.copy(collection.images)
    images.labels = numbers.astype(np.int64)[collection.images.labels]
    return dataclasses.replace(collection, images=images, class_names=names.tolist(), levels=levels)
