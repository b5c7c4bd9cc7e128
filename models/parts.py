"""A model as three parts that are trained separately: backbone, descriptor, linear part."""

import contextlib
import dataclasses
import enum
from collections.abc import Callable, Iterator

import keras

from conf.schema import Config
from models.backbones import build_backbone, check_frozen_blocks, freeze_blocks
from models.heads import build_descriptor
from models.model_layers import Normalization, PresetEncoder


class StageInput(enum.Enum):
    """The kind of samples that a stage reads: images, or the output of the parts that it skips.

    `coordinates` stand for descriptors, see `training/coordinates.py`.
    """

    images = "images"
    features = "features"
    descriptors = "descriptors"
    coordinates = "coordinates"


@dataclasses.dataclass(frozen=True)
class Parts:
    """Three functional models. The head is the descriptor and the linear part.

    Attributes:
        backbone: images (B, side, side, 3) to feature maps (B, H, W, C), or to tokens (B, 1 + H *
            W, C), the class token first; frozen until stage 2.
        descriptor: maps or tokens to descriptors (B, D); see `build_descriptor` for which are
            trained.
        linear: descriptors to logits, or to embeddings.
    """

    backbone: keras.Model
    descriptor: keras.Model
    linear: keras.Model

    def describe(self, samples, start: StageInput):
        """Returns the descriptors of a batch of samples of the kind `start`."""
        if start is StageInput.images:
            samples = self.backbone(samples)
        if start in (StageInput.descriptors, StageInput.coordinates):
            return samples
        return self.descriptor(samples)

    def network(self, start: StageInput, linear: keras.Model | None = None) -> keras.Model:
        """Returns a model from `start` to the outputs of `linear`. Weights are shared.

        Args:
            start: what the model reads.
            linear: used instead of the linear part. Default: the linear part.
        """
        linear = linear or self.linear
        if start is StageInput.descriptors:
            return linear
        first = self.backbone if start is StageInput.images else self.descriptor
        samples = keras.Input(first.input.shape[1:], name=start.value)
        return keras.Model(
            samples, linear(self.describe(samples, start)), name=f"from_{start.value}"
        )

    def unfreeze(self, frozen_blocks: int | None = None) -> None:
        """Makes the head and the upper blocks of the backbone trainable.

        The batch normalisation of the reduction stays frozen, and that of the backbone keeps its
        statistics: see `InferenceMode`. Some weights of presets stay frozen: see
        `PresetEncoder.freeze_unsaved`.

        Args:
            frozen_blocks: first blocks of the backbone that stay frozen. Default: `None`, half of
                them.
        """
        self.backbone.trainable = True
        for layer in self.backbone.layers:
            if isinstance(layer, PresetEncoder):
                layer.freeze_unsaved()
        freeze_blocks(self.backbone, frozen_blocks)
        for layer in self.descriptor.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        for layer in self.linear.layers:
            if isinstance(layer, Normalization):
                layer.follows = True


def build_parts(config: Config, build_linear: Callable[[tuple[int, ...]], keras.Model]) -> Parts:
    """Builds the parts that `config.backbone` and `config.head` describe.

    The backbone has the global dtype policy. The other parts are cheap and compute in float32.

    Args:
        config: the configuration of the run.
        build_linear: a function from the shape of a descriptor to the linear part.

    Raises:
        UserError: see `build_backbone`, `check_frozen_blocks` and `build_descriptor`.
    """
    backbone = build_backbone(config.backbone, config.data.image_size)
    check_frozen_blocks(backbone, config.trainer.frozen_blocks)
    with dtype_policy("float32"):
        descriptor = build_descriptor(config.head, backbone.output.shape[1:], config.seed)
        linear = build_linear(descriptor.output.shape[1:])
    return Parts(backbone, descriptor, linear)


def parts_of(model: keras.Model) -> Parts:
    """Returns the parts of a model that `Parts.network` joined, such as that of a finished run.

    Raises:
        ValueError: the model does not consist of the three parts.
    """
    backbone, descriptor, linear = [
        layer for layer in model.layers if isinstance(layer, keras.Model)
    ]
    return Parts(backbone, descriptor, linear)


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Sets the global dtype policy of Keras for a block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
