"""An embedder: frozen backbone, descriptor, linear embedding."""

import keras

from conf.schema import Config
from errors import UserError
from models.embedding import build_embedding
from models.parts import Parts, build_parts


def build_embedder(config: Config) -> Parts:
    """Builds parts whose linear one gives embeddings, of unit norm with `head.embedding_l2`.

    Raises:
        UserError: `head.embedding` is not set; see also `build_parts`.
    """
    if config.head.embedding is None:
        raise UserError(
            f"head.embedding=null: task={config.task.value} takes its number of units, as in "
            "head.embedding=512"
        )

    def build_linear(shape):
        embedding = build_embedding(config.head, shape, config.seed)
        if not config.head.embedding_l2:
            return embedding
        unit = keras.layers.UnitNormalization(name="embedding_l2")(embedding.output)
        return keras.Model(embedding.input, unit, name="embedding")

    return Parts(*build_parts(config, build_linear))
