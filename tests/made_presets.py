"""Small KerasHub presets with random weights, one of each family, written to a folder."""

from pathlib import Path

import keras
import numpy as np

SIZES = {
    "dinov2": 56, "dinov3": 64, "vit": 64, "deit": 64, "siglip": 64, "clip": 64, "swin": 56,
    "metaclip2": 64, "vgg": 64, "resnet": 64, "resnet_v2": 64, "hgnetv2": 64,
}  # fmt: skip
# Patches or positions along each side of the last map.
SIDES = {
    "dinov2": 4, "dinov3": 4, "vit": 4, "deit": 4, "siglip": 4, "clip": 4, "swin": 7,
    "metaclip2": 4, "vgg": 8, "resnet": 2, "resnet_v2": 2, "hgnetv2": 4,
}  # fmt: skip
# Tokens before the patches: class token, and registers or DeiT's distillation token.
PREFIX = {"dinov2": 1 + 4, "dinov3": 1 + 4, "vit": 1, "deit": 1 + 1, "clip": 1, "metaclip2": 1}
SCALE, OFFSET = [0.02, 0.017, 0.018], [-2.0, -1.9, -1.8]
TRANSFORMER = {"num_layers": 2, "hidden_dim": 32, "num_heads": 2, "intermediate_dim": 64}
TEXT = TRANSFORMER | {"vocabulary_size": 20, "embedding_dim": 32, "max_sequence_length": 8}


def write_preset(folder: Path, family: str) -> str:
    """Writes a preset with random weights and its image converter; returns its folder."""
    import keras_hub

    keras.utils.set_random_seed(0)
    backbone, converter = _build(keras_hub, family)
    for weight in backbone.weights:
        # Tokens and positions start at or near zero, and would hardly have an effect.
        if weight.name == "position_ids":
            weight.assign(np.arange(weight.shape[-1])[None])
        elif weight.name in ("cls_token", "class_token", "register_tokens") or (
            "position" in weight.path and keras.backend.is_float_dtype(weight.dtype)
        ):
            random = np.random.default_rng(1).normal(size=weight.shape) / 2
            weight.assign(random)
    backbone.save_to_preset(str(folder))
    size = (SIZES[family], SIZES[family])
    converter(image_size=size, scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return str(folder)


def _build(hub, family: str):
    models, layers, size = hub.models, hub.layers, SIZES[family]
    images = {"image_shape": (size, size, 3)}
    vit = {key: each for key, each in TRANSFORMER.items() if key != "intermediate_dim"}
    if family == "dinov2":
        backbone = models.DINOV2Backbone(
            patch_size=14,
            num_register_tokens=4,
            position_embedding_shape=(84, 84, 3),
            **images,
            **TRANSFORMER,
        )
        return backbone, layers.DINOV2ImageConverter
    if family == "dinov3":
        backbone = models.DINOV3Backbone(patch_size=16, **images, **TRANSFORMER)
        return backbone, layers.DINOV3ImageConverter
    if family == "vit":
        backbone = models.ViTBackbone(patch_size=16, mlp_dim=64, **images, **vit)
        return backbone, layers.ViTImageConverter
    if family == "deit":
        backbone = models.DeiTBackbone(patch_size=16, **images, **TRANSFORMER)
        return backbone, layers.DeiTImageConverter
    if family == "siglip":
        vision = models.SigLIPVisionEncoder(patch_size=16, **images, **TRANSFORMER)
        text = models.SigLIPTextEncoder(**TEXT)
        return models.SigLIPBackbone(vision, text), layers.SigLIPImageConverter
    if family == "clip":
        vision = models.CLIPVisionEncoder(patch_size=16, **images, **TRANSFORMER)
        text = models.CLIPTextEncoder(**TEXT)
        backbone = models.CLIPBackbone(vision, text, projection_dim=16)
        return backbone, layers.CLIPImageConverter
    if family == "swin":
        backbone = models.SwinTransformerBackbone(
            embed_dim=16, depths=(1, 1), num_heads=(2, 2), window_size=7, **images
        )
        return backbone, layers.SwinTransformerImageConverter
    if family == "vgg":
        return models.VGGBackbone([1, 1, 1], [8, 8, 16], **images), layers.VGGImageConverter
    if family == "metaclip2":
        vision = models.MetaCLIP2VisionEncoder(patch_size=16, **images, **TRANSFORMER)
        text = models.MetaCLIP2TextEncoder(**TEXT)
        backbone = models.MetaCLIP2Backbone(vision, text, projection_dim=16)
        return backbone, layers.MetaCLIP2ImageConverter
    if family in ("resnet", "resnet_v2"):
        sizes = [64], [7], [64, 16, 16, 32], [1, 1, 1, 1], [1, 2, 2, 2]
        backbone = models.ResNetBackbone(
            *sizes, "basic_block", use_pre_activation=family == "resnet_v2"
        )
        return backbone, layers.ResNetImageConverter
    assert family == "hgnetv2"
    backbone = models.HGNetV2Backbone(
        depths=[1, 1, 1],
        embedding_size=8,
        hidden_sizes=[8, 16, 32],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 8, 1, 1, 3), (8, 8, 16, 1, 1, 3), (16, 8, 32, 1, 1, 3)],
        apply_downsample=[False, True, True],
        use_lightweight_conv_block=[False, False, False],
        image_shape=(size, size, 3),
    )
    return backbone, layers.HGNetV2ImageConverter
