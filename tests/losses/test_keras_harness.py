"""Keras' own tests of a loss and of a layer, for every loss."""

import keras
import numpy as np
import pytest

from losses import CenterLoss, CompactnessLoss, TripletHardLoss, TripletSemiHardLoss

LOSSES = [
    TripletHardLoss(0.5, soft=True, distance_metric="angular", degenerate="original"),
    TripletSemiHardLoss(0.5, "squared-L2", reduction="sum"),
    CompactnessLoss(name="compactness", reduction=None),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_loss_passes(harness, loss):
    revived = harness.run_class_serialization_test(loss)
    labels, x = np.array([0, 0, 1, 1]), np.random.default_rng(0).normal(size=(4, 3))
    harness.assertAllClose(revived(labels, x), loss(labels, x))
    assert keras.backend.standardize_dtype(loss(labels, x).dtype) == "float32"


@pytest.mark.parametrize("options", [{}, {"rule": "facenet", "alpha": 0.99}])
def test_the_center_loss_passes(harness, options):
    harness.run_layer_test(
        CenterLoss,
        {"num_classes": 3, **options},
        input_shape={"embeddings_shape": (4, 5), "labels_shape": (4,)},
        input_dtype={"embeddings_shape": "float32", "labels_shape": "int32"},
        expected_output_shape=(4,),
        expected_output_dtype="float32",
        expected_num_trainable_weights=0,
        expected_num_non_trainable_weights=2,
        run_training_check=False,  # which calls a layer with one argument
    )
