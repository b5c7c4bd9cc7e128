"""Stage 1 trains on what is frozen, stage 2 everything from pictures: what `trainer` and
`optimizer` say of each."""

import keras

from conf.schema import Config
from data.balanced_batches import BalancedBatches
from data.inputs import Inputs
from training.objectives import Objective
from training.stage import Stage
from training.two_streams import Stream


def head_stage(
    config: Config,
    model: keras.Model,
    inputs: Inputs,
    objective: Objective,
    balance: BalancedBatches | None = None,
    second_stream: Stream | None = None,
    training_model: keras.Model | None = None,
) -> Stage:
    """Stage 1; for the arguments see `Stage`."""
    return Stage(
        "head",
        model,
        inputs,
        config.trainer.epochs,
        0,
        config.trainer.batch_size,
        config.optimizer.learning_rate,
        objective,
        (),
        balance,
        second_stream,
        training_model,
    )


def fine_tune_stage(
    config: Config,
    model: keras.Model,
    inputs: Inputs,
    objective: Objective,
    fast_variables: list,
    balance: BalancedBatches | None = None,
    second_stream: Stream | None = None,
    training_model: keras.Model | None = None,
) -> Stage:
    """Stage 2, whose epochs count on from stage 1's; for the arguments see `Stage`."""
    trainer = config.trainer
    return Stage(
        "fine_tune",
        model,
        inputs,
        trainer.fine_tune_epochs,
        trainer.epochs,
        trainer.fine_tune_batch_size,
        config.optimizer.fine_tune_learning_rate,
        objective,
        tuple(fast_variables),
        balance,
        second_stream,
        training_model,
    )
