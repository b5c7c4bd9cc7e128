"""Groups of a level as classes."""

import numpy as np
import pytest

from data.collection import Collection
from data.image_folder import FolderImages
from data.levels import at_level
from errors import UserError

CLASSES = ["737-200", "A320", "737-300", "DH-82"]
LEVELS = {
    "family": ["Boeing 737", "A320", "Boeing 737", "DH-82"],
    "manufacturer": ["Boeing", "Airbus", "Boeing", "de Havilland"],
    "engines": ["two", "two", "two", "one"],
    "wings": ["low", "low", "high", "high"],  # cuts across the families
}


@pytest.fixture
def aircraft(tmp_path) -> Collection:
    files, labels = [f"{number}.jpg" for number in range(6)], np.array([0, 0, 1, 2, 3, 3])
    splits = {"train": np.array([0, 2, 3, 4]), "test": np.array([1, 5])}
    return Collection(FolderImages(tmp_path, files, labels), CLASSES, splits, LEVELS, "@book{}")


def test_the_groups_are_the_classes(aircraft):
    families = at_level(aircraft, "family")
    assert families.class_names == ["A320", "Boeing 737", "DH-82"]
    assert families.images.labels.tolist() == [1, 1, 0, 1, 2, 2]
    assert families.images.key(3) == aircraft.images.key(3)
    assert (families.splits, families.citation) == (aircraft.splits, aircraft.citation)


def test_coarser_levels_remain(aircraft):
    assert at_level(aircraft, "family").levels == {
        "manufacturer": ["Airbus", "Boeing", "de Havilland"],
        "engines": ["two", "two", "one"],
    }
    assert list(at_level(aircraft, "engines").levels) == []


def test_the_collection_stays_as_it_is(aircraft):
    at_level(aircraft, "wings")
    assert aircraft.images.labels.tolist() == [0, 0, 1, 2, 3, 3]
    assert (aircraft.class_names, aircraft.levels) == (CLASSES, LEVELS)


def test_another_level_is_refused(aircraft):
    message = "data.level=genus: the data have no such level; they have: family, manufacturer, eng"
    with pytest.raises(UserError, match=message):
        at_level(aircraft, "genus")
