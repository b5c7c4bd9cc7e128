"""What the configuration says of each stage."""

import keras
import numpy as np

from conf.schema import LossConfig
from data.inputs import MemoryInputs
from experiments.two_stages import fine_tune_stage, head_stage
from training.objectives import classification_objective


def test_the_second_stage_counts_on_where_the_first_one_ends(make_config):
    config = make_config(
        "trainer.epochs=5",
        "trainer.fine_tune_epochs=2",
        "trainer.batch_size=8",
        "trainer.fine_tune_batch_size=4",
        "optimizer.learning_rate=3",
        "optimizer.fine_tune_learning_rate=0.1",
    )
    sample = keras.Input((2,))
    model = keras.Model(sample, keras.layers.Dense(3)(sample))
    inputs = MemoryInputs(np.arange(1), np.zeros((1, 1, 2), np.float32))
    objective = classification_objective(LossConfig(), 3)
    first = head_stage(config, model, inputs, objective)
    second = fine_tune_stage(config, model, inputs, objective, model.trainable_variables)
    assert (first.name, first.first_epoch, first.epochs) == ("head", 0, 5)
    assert (second.name, second.first_epoch, second.epochs) == ("fine_tune", 5, 2)
    assert (first.batch_size, first.learning_rate, first.fast_variables) == (8, 3, ())
    assert (second.batch_size, second.learning_rate, len(second.fast_variables)) == (4, 0.1, 2)
