"""The layers between the descriptor and the classifier: standardisation, dropout, embedding."""

import keras

from conf.schema import HeadConfig


def build_embedding(config: HeadConfig, shape: tuple[int, ...], seed: int) -> keras.Model:
    """Builds the layers "standardize", dropout and "embedding", as configured.

    Args:
        config: `standardize` (`training/initialization.py` sets its statistics from training
            descriptors), `dropout` and `embedding`.
        shape: shape of a descriptor, (D,).
        seed: seed of dropout and of the initial weights.

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
