"""Objectives: losses, metrics, and the metric that selects an epoch."""

import keras
import numpy as np
import pytest

from conf.schema import Loss, LossConfig
from losses import TripletHardLoss, TripletSemiHardLoss
from training.objectives import (
    classification_objective,
    compactness_objective,
    metric_objective,
)


def test_classification_has_smoothed_cross_entropy_and_two_accuracies():
    objective = classification_objective(LossConfig(label_smoothing=0.1), 3)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    labels, logits = np.eye(3), np.array([[3.0, 1, 0], [0, 1, 2], [1, 0, 0]])
    assert float(objective.loss(labels, logits)) == float(expected(labels, logits))
    assert [metric.name for metric in objective.metrics] == ["accuracy", "top5_accuracy"]
    assert (objective.monitor, objective.one_hot) == ("accuracy", True)


def test_compactness_and_cross_entropy_are_weighed():
    objective = compactness_objective(LossConfig(compactness_weight=0.5), 2)
    features = np.array([[1.0, 2, 3, 4], [2, 4, 4, 3], [3, 2, 1, 4]])
    cross_entropy, compactness = objective.loss
    assert float(compactness(np.zeros(3), features)) == pytest.approx(1.875)
    assert float(cross_entropy(np.eye(2), np.zeros((2, 2)))) == pytest.approx(np.log(2))
    assert objective.weights == (1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("triplet_hard", TripletHardLoss), ("triplet_semi_hard", TripletSemiHardLoss)],
)
def test_metric_learning_has_a_triplet_loss_of_integer_labels(name, kind):
    config = LossConfig(name=Loss[name], margin=0.3, global_mining=False)
    objective = metric_objective(config, lambda model: {})
    assert isinstance(objective.loss, kind) and objective.loss.margin == 0.3
    assert (objective.monitor, objective.one_hot) == ("recall_at_1", False)
    assert not objective.global_batch
