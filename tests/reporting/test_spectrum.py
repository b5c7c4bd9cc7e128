"""The spectrum of the pooled matrix before and after its root."""

import numpy as np
import pytest

from layers import SecondOrderPooling
from reporting.spectrum import draw_spectra, effective_directions, spectra


@pytest.mark.parametrize("root", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("shape", [(4, 4, 6), (2, 3, 12)])
def test_spectra_equal_the_eigenvalues_of_the_layers_output(root, centered, shape):
    maps = np.random.default_rng(0).uniform(0, 1, (3, *shape)).astype(np.float32)
    before, after = spectra(SecondOrderPooling(root=root, centered=centered), maps)
    for values, kind in ((before, None), (after, root or "exact")):
        layer = SecondOrderPooling(root=kind, centered=centered)
        wanted = np.linalg.eigvalsh(np.asarray(layer(maps), np.float64))[:, ::-1]
        wanted = (wanted / wanted[:, :1])[:, : values.shape[1]]
        np.testing.assert_allclose(values, wanted, atol=1e-4)


def test_effective_directions_count_equal_eigenvalues():
    assert effective_directions(np.ones((2, 5))) == pytest.approx(5)
    assert effective_directions(np.array([[1.0, 0, 0]])) == pytest.approx(1)


@pytest.mark.parametrize("root", [None, "exact"])
def test_any_spectrum_can_be_drawn(root):
    flat = np.array([[1.0, 0.1, 0.0]])
    assert draw_spectra(flat, np.sqrt(flat), root).shape[2] == 3
    assert draw_spectra(np.zeros((2, 1)), np.zeros((2, 1)), root).dtype == np.uint8
