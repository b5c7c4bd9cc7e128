"""An image encoder of KerasHub up to a tapped block, as one layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from .image_tokens import ImageTokens

UNSAVED = ("mask_token", "interpolated_position_embeddings")  # of DINOv2 and DINOv3


class Tap(NamedTuple):
    """An output that can be pooled.

    Attributes:
        output: a feature map (B, H, W, C), or tokens (B, tokens, C).
        side: number of patch tokens along each side of the image; `None` for a feature map.
    """

    output: keras.KerasTensor
    side: int | None = None


class Encoder(NamedTuple):
    """An image encoder as symbolic tensors.

    Attributes:
        images: its input, preprocessed images (B, size, size, 3).
        taps: outputs by name, in the order of depth; the last one is the default.
        prefix: number of tokens before the patch tokens.
        class_token: whether the first token is a class token.
    """

    images: keras.KerasTensor
    taps: dict[str, Tap]
    prefix: int = 0
    class_token: bool = False


@keras.saving.register_keras_serializable(package="fgvc")
class PresetEncoder(keras.layers.Layer):
    """Computes feature maps or tokens with a KerasHub backbone, in inference mode.

    Transformers are computed block by block, so nothing behind the tapped block is computed, and
    only the layers in use have weights here. The layer is saved as the configuration of the whole
    backbone: those of KerasHub's blocks do not describe them completely.

    Args:
        backbone: A KerasHub backbone or vision encoder.
        size: Side of the square input images, in pixels.
        tap: Name of a block, level or layer; see `taps`. Default: `None`, the last one.

    Attributes:
        model: The functional model up to the tap.

    Input shape:
        (B, size, size, 3), preprocessed images.

    Output shape:
        (B, H, W, C) without a class token, else (B, 1 + H * W, C), see `ImageTokens`.

    Raises:
        ValueError: the backbone is not an image encoder with known outputs.
        KeyError: there is no such tap.
    """

    def __init__(self, backbone: keras.Model, size: int, tap: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.tap = tap
        self.backbone_config = keras.saving.serialize_keras_object(backbone)
        encoder = taps_of(backbone, size)
        output, side = encoder.taps[tap or list(encoder.taps)[-1]]
        if side is not None:
            selected = ImageTokens(side, encoder.prefix, encoder.class_token, name="tokens")
            output = selected(output)
        self.model = keras.Model(encoder.images, output, name="encoder")

    def call(self, images, training=None):
        return self.model(images, training=False)

    def freeze_unsaved(self):
        """Freezes weights that have no gradient, and those that would change when they are saved.

        DINOv2 saves its positions at the size of its pre-training, so that trained ones of another
        size would be interpolated twice.
        """
        for variable in self.model.variables:
            if variable.name in UNSAVED:
                variable.trainable = False

    def compute_output_shape(self, input_shape):
        return self.model.compute_output_shape(input_shape)

    def get_config(self):
        own = {"backbone": self.backbone_config, "size": self.size, "tap": self.tap}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)


def taps_of(backbone: Any, size: int) -> Encoder:
    """Returns the taps of a backbone. Each family of transformers has attributes of its own.

    Raises:
        ValueError: the backbone is not an image encoder with known outputs.
    """
    kind = type(backbone).__name__
    if kind == "SwinTransformerBackbone":
        return _swin(backbone, size // backbone.patch_size)
    if kind in TRANSFORMERS:
        images = keras.Input((size, size, 3), name="images")
        return TRANSFORMERS[kind](backbone, images, size // (patch_size(backbone) or size))
    ends = backbone.output if isinstance(backbone.output, dict) else {"": backbone.output}
    if not all(map(_is_map, ends.values())) or len(backbone.inputs) != 1:
        raise ValueError(f"KerasHub's {kind} is not an image encoder with known outputs")
    inner = [each for each in backbone.layers if not isinstance(each, keras.layers.InputLayer)]
    outputs = getattr(backbone, "pyramid_outputs", {}) | {each.name: each.output for each in inner}
    outputs |= ends if isinstance(backbone.output, dict) else {}
    # The backbone's own output comes last: a pyramid level may be in front of the last norm.
    last = list(ends.values())[-1]
    ordered = sorted(outputs.items(), key=lambda item: item[1] is last)
    return Encoder(backbone.inputs[0], {name: Tap(x) for name, x in ordered if _is_map(x)})


def _is_map(output) -> bool:
    return isinstance(output, keras.KerasTensor) and len(output.shape) == 4


def _transformer(
    tokens, blocks: list[Callable], norm: Callable | None, side: int
) -> dict[str, Tap]:
    taps = {"stem": Tap(tokens, side)}
    for number, block in enumerate(blocks, 1):
        tokens = block(tokens)
        taps[f"block{number}"] = Tap(tokens, side)
    return taps if norm is None else taps | {"norm": Tap(norm(tokens), side)}


def _dinov2(backbone, images, side: int) -> Encoder:
    blocks, registers = backbone.encoder.layers, backbone.num_register_tokens
    taps = _transformer(backbone.embeddings(images), blocks, backbone.layernorm, side)
    return Encoder(images, taps, 1 + registers, True)


def _dinov3(backbone, images, side: int) -> Encoder:
    positions, prefix = backbone.rope_embedding(images), 1 + backbone.num_register_tokens

    def placed(layer):
        return lambda x: layer(x, position_embeddings=positions, num_prefix_tokens=prefix)

    blocks = [placed(layer) for layer in backbone.encoder.layers]
    taps = _transformer(backbone.embeddings(images), blocks, backbone.layernorm, side)
    return Encoder(images, taps, prefix, True)


def _vit(backbone, images, side: int) -> Encoder:
    _, embedding, encoder = backbone.layers
    tokens = encoder.dropout(embedding(images))
    taps = _transformer(tokens, encoder.encoder_layers, encoder.layer_norm, side)
    return Encoder(images, taps, int(backbone.use_class_token), backbone.use_class_token)


def _deit(backbone, images, side: int) -> Encoder:
    _, embedding, encoder = backbone.layers

    def tokens_of(layer):  # with the scores, since symbolic calls do not return `None`
        return lambda x: layer(x, return_attention_scores=True)[0]

    blocks = [tokens_of(layer) for layer in encoder.encoder_layers]
    taps = _transformer(embedding(images), blocks, encoder.layer_norm, side)
    return Encoder(images, taps, 2, True)  # class token, distillation token


def _siglip(encoder, images, side: int) -> Encoder:
    tokens = encoder.embedding(images)
    return Encoder(
        images, _transformer(tokens, encoder.encoder_layers, encoder.post_layer_norm, side)
    )


def _clip(encoder, images, side: int) -> Encoder:
    tokens = encoder.pre_layer_norm(encoder.embedding(images))
    norm = getattr(encoder, "layer_norm", None)  # which MetaCLIP 2 lacks
    taps = _transformer(tokens, encoder.encoder_layers, norm, side)
    return Encoder(images, taps, 1, True)


def _swin(backbone, side: int) -> Encoder:
    stages = [stage.output for stage in backbone.stages]
    # All stages but the last one end with a merge of 2 x 2 tokens.
    sides = [side // 2 ** min(number, len(stages) - 1) for number in range(1, len(stages) + 1)]
    taps = {f"stage{i}": Tap(*each) for i, each in enumerate(zip(stages, sides, strict=True), 1)}
    taps["norm"] = Tap(backbone.norm.output, sides[-1])
    return Encoder(backbone.inputs[0], taps)


TRANSFORMERS: dict[str, Callable[[Any, keras.KerasTensor, int], Encoder]] = {
    "DINOV2Backbone": _dinov2,
    "DINOV3Backbone": _dinov3,
    "ViTBackbone": _vit,
    "DeiTBackbone": _deit,
    "SigLIPVisionEncoder": _siglip,
    "CLIPVisionEncoder": _clip,
    "MetaCLIP2VisionEncoder": _clip,
}


def patch_size(backbone: Any) -> int | None:
    """Returns the side of a patch in pixels; `None` if the backbone has no patches."""
    patch = getattr(backbone, "patch_size", None)
    return patch[0] if isinstance(patch, (tuple, list)) else patch
