"""A classifier as its three parts: frozen backbone, descriptor, linear classifier."""

import contextlib
import dataclasses
import functools

import keras

from conf.schema import Config
from models.backbones import build_backbone
from models.embedding import build_embedding
from models.heads import build_descriptor


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Three functional models that share nothing, and what is put together from them.

    Attributes:
        backbone: picture to feature map, frozen until it is fine-tuned.
        descriptor: feature map to vector; has trained weights only with `head.reduction`.
        linear: vector to logits.
    """

    backbone: keras.Model
    descriptor: keras.Model
    linear: keras.Model

    @functools.cached_property
    def head(self) -> keras.Model:
        """Feature map to logits."""
        maps = keras.Input(self.backbone.output.shape[1:], name="feature_map")
        return keras.Model(maps, self.linear(self.descriptor(maps)), name="head")

    @functools.cached_property
    def from_pictures(self) -> keras.Model:
        """RGB in 0...255 to logits."""
        pictures = keras.Input(self.backbone.input.shape[1:], name="pictures")
        logits = self.linear(self.descriptor(self.backbone(pictures)))
        return keras.Model(pictures, logits, name="logits")

    @functools.cached_property
    def complete(self) -> keras.Model:
        """RGB in 0...255 to probabilities: what a run saves as `model.keras`."""
        return with_probabilities(self.from_pictures)

    def with_embedding(self, model: keras.Model) -> keras.Model:
        """`model`, one of this classifier's, with the output of its layer "embedding" as a second
        one; the weights are shared."""
        embedding = self.linear.get_layer("embedding").output
        linear = keras.Model(self.linear.input, [self.linear.output, embedding], name="linear")
        twin = dataclasses.replace(self, linear=linear)
        parts = ("linear", "head", "from_pictures")
        (part,) = (part for part in parts if getattr(self, part) is model)
        return getattr(twin, part)


def with_probabilities(logits: keras.Model) -> keras.Model:
    """The same model with a softmax, in float32, behind it; the weights are shared."""
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(logits.input, softmax(logits.output), name="classifier")


def build_classifier(config: Config, classes: int) -> Classifier:
    """Builds the parts that `config.backbone` and `config.head` describe, for `classes` classes.

    The global dtype policy is the backbone's; what follows is cheap, and stays in float32.

    Raises:
        UserError: see `build_backbone` and `build_descriptor`.
    """
    backbone = build_backbone(config.backbone, config.data.image_size)
    with _float32():
        descriptor = build_descriptor(config.head, backbone.output.shape[1:], config.seed)
        linear = _build_linear(config, descriptor.output.shape[1:], classes)
    return Classifier(backbone, descriptor, linear)


def _build_linear(config: Config, shape: tuple[int, ...], classes: int) -> keras.Model:
    embedding = build_embedding(config.head, shape, config.seed)
    initializer = keras.initializers.GlorotUniform(config.seed)
    logits = keras.layers.Dense(classes, kernel_initializer=initializer, name="classifier")(
        embedding.output
    )
    return keras.Model(embedding.input, logits, name="linear")


@contextlib.contextmanager
def _float32():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
