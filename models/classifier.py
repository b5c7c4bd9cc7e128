"""A classifier: frozen backbone, descriptor, linear classifier."""

import dataclasses
import functools

import keras

from conf.schema import Config
from models.embedding import build_embedding
from models.parts import Parts, build_parts


@dataclasses.dataclass(frozen=True)
class Classifier(Parts):
    """Parts whose linear one gives logits."""

    @functools.cached_property
    def complete(self) -> keras.Model:
        """RGB in 0...255 to probabilities: what a run saves as `model.keras`."""
        return with_probabilities(self.from_images)

    def with_embedding(self, model: keras.Model) -> keras.Model:
        """`model`, one of this classifier's, with the output of its layer "embedding" as a second
        one; the weights are shared."""
        embedding = self.linear.get_layer("embedding").output
        linear = keras.Model(self.linear.input, [self.linear.output, embedding], name="linear")
        twin = dataclasses.replace(self, linear=linear)
        parts = ("linear", "head", "from_images")
        (part,) = (part for part in parts if getattr(self, part) is model)
        return getattr(twin, part)


def with_probabilities(logits: keras.Model) -> keras.Model:
    """The same model with a softmax, in float32, behind it; the weights are shared."""
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(logits.input, softmax(logits.output), name="classifier")


def build_classifier(config: Config, classes: int) -> Classifier:
    """Builds the parts of `config`'s classifier for `classes` classes; see `build_parts`."""
    return Classifier(*build_parts(config, lambda shape: build_linear(config, shape, classes)))


def build_linear(config: Config, shape: tuple[int, ...], classes: int) -> keras.Model:
    """Builds the part from descriptors of `shape`, (D,), to logits; see `build_embedding`."""
    embedding = build_embedding(config.head, shape, config.seed)
    initializer = keras.initializers.GlorotUniform(config.seed)
    logits = keras.layers.Dense(classes, kernel_initializer=initializer, name="classifier")(
        embedding.output
    )
    return keras.Model(embedding.input, logits, name="linear")
