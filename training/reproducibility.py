"""The same seed gives the same numbers."""

import keras
import tensorflow as tf

from conf.schema import Config


def seed_everything(config: Config) -> None:
    """Forgets what an earlier run of this process left behind, and seeds everything.

    Sets the dtype policy of `trainer.precision`, and asks TensorFlow for deterministic kernels.
    """
    keras.backend.clear_session()
    keras.config.set_dtype_policy(config.trainer.precision.value)
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
