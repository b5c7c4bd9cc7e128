"""An embedder: frozen backbone, descriptor, linear embedding."""

import keras

from conf.schema import Config
from models.embedding import build_embedding
from models.parts import Parts, build_parts


def build_embedder(config: Config) -> Parts:
    """Builds parts whose linear part returns embeddings, of unit norm with `head.embedding_l2`.

    `head.embedding` must be set; see also `build_parts`.
    """

    def build_linear(shape: tuple[int, ...]) -> keras.Model:
        embedding = build_embedding(config.head, shape, config.seed)
        if not config.head.embedding_l2:
            return embedding
        unit = keras.layers.UnitNormalization(name="embedding_l2")(embedding.output)
        return keras.Model(embedding.input, unit, name="embedding")

    return Parts(*build_parts(config, build_linear))
