"""From a descriptor to what is learned from it: standardised, and perhaps embedded."""

import keras

from conf.schema import HeadConfig


def build_embedding(config: HeadConfig, shape: tuple[int, ...], seed: int) -> keras.Model:
    """Builds "standardize", dropout and the linear layer "embedding", each if asked for.

    Args:
        config: `standardize` (its statistics are set from training descriptors, later: see
            `training/initialization.py`), `dropout` and `embedding`.
        shape: a descriptor's, (D,).
        seed: draws the weights.

    Returns:
        A functional model "embedding": (B, D) to (B, `config.embedding`), or (B, D) without one.
    """
    vector = keras.Input(shape, name="descriptor")
    x = vector
    if config.standardize:
        x = keras.layers.Normalization(name="standardize")(x)
    x = keras.layers.Dropout(config.dropout, seed=seed)(x)
    if config.embedding is not None:
        initializer = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Dense(
            config.embedding, use_bias=False, kernel_initializer=initializer, name="embedding"
        )(x)
    return keras.Model(vector, x, name="embedding")
