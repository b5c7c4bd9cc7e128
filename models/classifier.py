"""A classifier: frozen backbone, descriptor, linear classifier."""

import keras

from conf.schema import Config
from models.embedding import build_embedding
from models.parts import Parts, StageInput, build_parts


def build_classifier(config: Config, classes: int) -> Parts:
    """Builds parts whose linear part returns the logits of `classes` classes; see `build_parts`."""
    return build_parts(config, lambda shape: build_linear(config, shape, classes))


def build_linear(
    config: Config, shape: tuple[int, ...], classes: int, random: bool = False
) -> keras.Model:
    """Builds the model from descriptors of `shape`, (D,), to logits; see `build_embedding`.

    The classifier starts at zero, unless an embedding, which would get no gradient then, comes
    before it. A random start would add to every new image a random score that training never
    touches: training changes the kernel in the span of the training images only.

    Args:
        random: the classifier starts at random, as Keras' layers do. Default: `False`.
    """
    before = build_embedding(config.head, shape, config.seed)  # standardisation, dropout, embedding
    glorot = keras.initializers.GlorotUniform(config.seed)
    random = random or config.head.embedding is not None
    initializer = glorot if random else keras.initializers.Zeros()
    classifier = keras.layers.Dense(classes, kernel_initializer=initializer, name="classifier")
    return keras.Model(before.input, classifier(before.output), name="linear")


def divide_logits(linear: keras.Model, temperature: float) -> None:
    """Divides the kernel and the bias of the layer "classifier", and so the logits of `linear`."""
    classifier = linear.get_layer("classifier")
    classifier.set_weights([weight / temperature for weight in classifier.get_weights()])


def with_embedding(linear: keras.Model) -> keras.Model:
    """Returns a model with the outputs [logits, embeddings]; the weights are shared.

    Args:
        linear: see `build_linear`; it has a layer "embedding".
    """
    embedding = linear.get_layer("embedding").output
    return keras.Model(linear.input, [linear.output, embedding], name="linear")


def with_probabilities(logits: keras.Model) -> keras.Model:
    """Appends a softmax in float32 to a model; the weights are shared."""
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(logits.input, softmax(logits.output), name="classifier")


def complete(classifier: Parts) -> keras.Model:
    """Returns the model that a run saves: RGB images in 0...255 to probabilities."""
    return with_probabilities(classifier.network(StageInput.images))
