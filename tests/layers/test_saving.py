"""A saved model with every layer is the same in another process."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import layers

ROOT = Path(__file__).parents[2]
LOAD_AND_PREDICT = """
import sys
import keras
import numpy as np
import layers
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/model.keras")
np.save(folder + "/loaded.npy", model.predict(np.load(folder + "/x.npy"), verbose=0))
"""


def test_a_saved_model_is_the_same_in_another_process(tmp_path):
    inputs = keras.Input((None, None, 6))
    root = layers.SecondOrderPooling(centered=True, root="exact", epsilon=1e-4)(inputs)
    iterated = layers.SecondOrderPooling(root="newton_schulz", side="positions")(inputs)
    outputs = [
        layers.TriangularVectorization()(layers.SignedSquareRoot(normalize=True)(root)),
        layers.TriangularVectorization()(layers.MatrixSquareRoot(epsilon=1e-3)(iterated)),
        layers.CompactBilinearPooling(8)(inputs),
        layers.CompactBilinearPooling(8, "random_maclaurin")(inputs),
        layers.AttentivePooling(queries=2)(inputs),
        layers.CrossCovariancePooling(28, 2)(inputs),
        keras.layers.Flatten()(layers.BilinearPooling()([inputs, inputs])),
    ]
    model = keras.Model(inputs, keras.layers.Concatenate()(outputs))
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOAD_AND_PREDICT, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    loaded = np.load(tmp_path / "loaded.npy")
    np.testing.assert_allclose(loaded, model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
