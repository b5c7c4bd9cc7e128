"""A model as the three parts that are trained apart: backbone, descriptor, and what reads that."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import keras

from conf.schema import Config
from models.backbones import build_backbone
from models.heads import build_descriptor


@dataclasses.dataclass(frozen=True)
class Parts:
    """Three functional models that share nothing, and what is put together from them.

    Attributes:
        backbone: picture to feature map, frozen until it is fine-tuned.
        descriptor: feature map to vector; has trained weights only with `head.reduction`.
        linear: vector to what the loss is of: logits, or an embedding.
    """

    backbone: keras.Model
    descriptor: keras.Model
    linear: keras.Model

    @functools.cached_property
    def head(self) -> keras.Model:
        """Feature map to the linear part's output."""
        maps = keras.Input(self.backbone.output.shape[1:], name="feature_map")
        return keras.Model(maps, self.linear(self.descriptor(maps)), name="head")

    @functools.cached_property
    def from_images(self) -> keras.Model:
        """RGB in 0...255 to the linear part's output."""
        images = keras.Input(self.backbone.input.shape[1:], name="pictures")
        outputs = self.linear(self.descriptor(self.backbone(images)))
        return keras.Model(images, outputs, name="from_images")

    def unfreeze(self) -> None:
        """Everything learns from now on, but the reduction's batch norm, which stays as it is; the
        backbone's keep their statistics."""
        self.backbone.trainable = True
        for layer in self.descriptor.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def build_parts(
    config: Config, build_linear: Callable[[tuple[int, ...]], keras.Model]
) -> tuple[keras.Model, keras.Model, keras.Model]:
    """Builds the three `Parts` that `config.backbone` and `config.head` describe.

    The global dtype policy is the backbone's; what follows is cheap, and stays in float32.

    Args:
        config: the run's.
        build_linear: from a descriptor's shape to the linear part.

    Raises:
        UserError: see `build_backbone` and `build_descriptor`.
    """
    backbone = build_backbone(config.backbone, config.data.image_size)
    with in_float32():
        descriptor = build_descriptor(config.head, backbone.output.shape[1:], config.seed)
        linear = build_linear(descriptor.output.shape[1:])
    return backbone, descriptor, linear


@contextlib.contextmanager
def in_float32():
    """Layers that are made inside compute in float32, whatever the backbone's policy."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
