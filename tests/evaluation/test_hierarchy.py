"""Distances in a hierarchy of classes, against a walk through its tree."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluation.hierarchy import groups_by_level, hierarchical_distances

LEVELS = {"family": ["oak", "oak", "ash", "rose", "rose"], "order": ["tree"] * 3 + ["herb"] * 2}


def path_to_root(number: int, levels: list[list[str]]) -> list[tuple]:
    """The nodes from a class to the root, for levels from fine to coarse."""
    groups = [(height, names[number]) for height, names in enumerate(levels, 1)]
    return [(0, number), *groups, (len(levels) + 1, "root")]


def height_of_common_ancestor(a: int, b: int, levels: list[list[str]]) -> int:
    path_a, path_b = path_to_root(a, levels), path_to_root(b, levels)
    [height, _] = next(node for node in path_a if node in path_b)
    return height


@st.composite
def trees(draw) -> list[list[str]]:
    """Nested levels of up to 12 classes, from fine to coarse; a level may have a single group."""
    classes, levels = draw(st.integers(1, 12)), []
    groups = list(range(classes))
    for _ in range(draw(st.integers(1, 4))):
        size = len(set(groups))
        parents = draw(st.lists(st.integers(0, size - 1), min_size=size, max_size=size))
        parent_of = dict(zip(sorted(set(groups)), parents, strict=True))
        groups = [parent_of[group] for group in groups]
        levels.append([f"group {group}" for group in groups])
    return levels


@given(trees(), st.randoms())
def test_the_distance_is_the_height_of_the_lowest_common_ancestor(levels, random):
    named = [(f"level {number}", names) for number, names in enumerate(levels)]
    random.shuffle(named)
    classes = range(len(levels[0]))
    labels, predictions = np.array([(a, b) for a in classes for b in classes]).T
    distances = hierarchical_distances(labels, predictions, dict(named))
    expected = [
        height_of_common_ancestor(a, b, levels)
        for a, b in zip(labels.tolist(), predictions.tolist(), strict=True)
    ]
    assert distances.tolist() == expected


@given(trees(), st.randoms())
def test_the_finest_level_comes_first_in_whatever_order_they_are(levels, random):
    named = [(f"level {number}", names) for number, names in enumerate(levels)]
    random.shuffle(named)
    ordered = list(groups_by_level(dict(named)).values())
    for fine, coarse in itertools.pairwise(ordered):
        assert len(set(zip(fine, coarse, strict=True))) == len(set(fine))  # nested


def test_no_prediction_is_wrong_at_every_level():
    labels = np.array([0, 1, 4])
    assert hierarchical_distances(labels, np.array([-1, 2, -1]), LEVELS).tolist() == [3, 2, 3]


def test_levels_that_are_not_nested_count_those_that_are_wrong():
    levels = {"colour": ["red", "blue", "red"], "shape": ["round", "round", "long"]}
    labels, predictions = np.array([0, 0, 1, 1]), np.array([1, 2, 2, 1])
    assert hierarchical_distances(labels, predictions, levels).tolist() == [2, 2, 3, 0]
