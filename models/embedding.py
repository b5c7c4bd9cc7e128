"""The layers behind the descriptor, and the embedder for metric learning that ends with them."""

import keras

from conf.schema import Config, HeadConfig
from models.model_layers import Normalization
from models.parts import Parts, build_parts


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
        x = Normalization(name="standardize")(x)
    x = keras.layers.Dropout(config.dropout, seed=seed)(x)
    if config.embedding is not None:
        initializer = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Dense(
            config.embedding, use_bias=False, kernel_initializer=initializer, name="embedding"
        )(x)
    return keras.Model(vector, x, name="embedding")


def build_unit_embedding(config: HeadConfig, shape: tuple[int, ...], seed: int) -> keras.Model:
    """Builds `build_embedding` and, with `config.embedding_l2`, a division by the L2 norm."""
    embedding = build_embedding(config, shape, seed)
    if not config.embedding_l2:
        return embedding
    unit = keras.layers.UnitNormalization(name="embedding_l2")(embedding.output)
    return keras.Model(embedding.input, unit, name="embedding")


def build_embedder(config: Config) -> Parts:
    """Builds parts whose linear part returns embeddings, see `build_unit_embedding`.

    `head.embedding` must be set; see also `build_parts`.
    """
    return build_parts(config, lambda shape: build_unit_embedding(config.head, shape, config.seed))
