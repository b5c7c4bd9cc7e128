"""The drawings: the rule that distinguishes the species, and properties of the images."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.bird_drawing import COLOURS, PARTS, SPECIES, contact_sheet, draw


def pixels(species: int, seed: int, size: int = 96) -> np.ndarray:
    return np.asarray(draw(species, np.random.default_rng(seed), size))


def test_every_species_wears_every_colour_once():
    for species in SPECIES:
        assert tuple(species.dress) == PARTS
        assert set(species.dress.values()) == set(COLOURS)


def test_two_species_share_one_part_at_most():
    for one, other in itertools.combinations(SPECIES, 2):
        assert sum(one.dress[part] == other.dress[part] for part in PARTS) <= 1


def test_no_single_part_identifies_a_species():
    for part in PARTS:
        worn = [species.dress[part] for species in SPECIES]
        assert all(2 <= worn.count(colour) <= 3 for colour in set(worn))


def test_names_contain_the_colours_of_cap_and_breast():
    assert len({species.name for species in SPECIES}) == 9
    for species in SPECIES:
        dress = species.dress
        assert species.name == f"{dress['cap']}_capped_{dress['breast']}breast"


def test_the_same_generator_state_gives_the_same_image():
    np.testing.assert_array_equal(pixels(4, seed=1), pixels(4, seed=1))


def test_everything_but_the_species_varies():
    assert np.abs(pixels(4, seed=1).astype(int) - pixels(4, seed=2)).mean() > 10


def test_species_differ_only_in_the_plumage():
    one, other = pixels(0, seed=3).astype(int), pixels(5, seed=3)
    changed = (np.abs(one - other).max(-1) > 12).mean()
    assert 0.02 < changed < 0.4


@pytest.mark.parametrize("size", [64, 96, 160])
def test_an_image_has_the_size_asked_for(size):
    assert pixels(0, seed=0, size=size).shape == (size, size, 3)


@pytest.mark.slow
def test_the_mean_colour_hardly_identifies_the_species():
    """The nearest mean colour is hardly better than chance, one in nine."""
    labels = np.arange(360) % 9
    means = np.stack([pixels(label, seed=i).mean((0, 1)) for i, label in enumerate(labels)])
    train, test = np.arange(360) < 180, np.arange(360) >= 180
    centres = np.stack([means[train & (labels == k)].mean(0) for k in range(9)])
    guesses = np.linalg.norm(means[test][:, None] - centres, axis=-1).argmin(1)
    assert (guesses == labels[test]).mean() < 0.25


def test_contact_sheet_command(tmp_path):
    file = tmp_path / "birds.png"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "data.bird_drawing", str(file)]
    subprocess.run(command, cwd=root, check=True)
    assert Image.open(file).size == contact_sheet().size
