"""Seeds and deterministic kernels: the same seed gives the same numbers."""

import keras
import tensorflow as tf

from conf.schema import Config


def seed_everything(config: Config) -> None:
    """Clears the state of an earlier run in this process, and seeds all random generators.

    It also sets the dtype policy of `trainer.precision` and requests deterministic kernels.
    """
    keras.backend.clear_session()
    keras.config.set_dtype_policy(config.trainer.precision.value)
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
