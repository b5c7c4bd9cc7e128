"""Losses and metrics of the whole batch; tests/test_strategy.py runs them on several replicas."""

import keras
import numpy as np
import pytest

from training.distributed.global_batch import GlobalBatchModel, all_gather, whole_batch_norms
from training.distributed.keras_20585 import PatchedFit


def nested_model() -> keras.Model:
    """A model with a batch norm of its own and one in a model inside it."""
    inner = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(name="inner")])
    vector = keras.Input((2,))
    return keras.Model(vector, keras.layers.BatchNormalization(name="outer")(inner(vector)))


def test_batch_norms_are_synchronized_only_while_the_model_is_trained():
    model = nested_model()
    norms = [model.get_layer("outer"), model.layers[1].get_layer("inner")]
    with pytest.raises(KeyboardInterrupt), whole_batch_norms(model):
        assert [norm.synchronized for norm in norms] == [True, True]
        raise KeyboardInterrupt
    assert [norm.synchronized for norm in norms] == [False, False]


def test_with_one_replica_values_stay_unchanged():
    values = [np.arange(3), {"a": np.ones(2)}]
    assert all_gather(values) is values


@pytest.mark.parametrize("first", [PatchedFit, GlobalBatchModel])
def test_the_jobs_of_a_sweep_may_train_different_kinds_of_models(first):
    """Keras changes the bases of a class that is built functionally."""
    bases = [kind.__bases__ for kind in (PatchedFit, GlobalBatchModel)]
    model = first(nested_model())
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
    assert [kind.__bases__ for kind in (PatchedFit, GlobalBatchModel)] == bases
