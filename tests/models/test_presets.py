"""KerasHub presets as backbones: features, tokens, taps, image sizes, errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from made_presets import OFFSET, PREFIX, SCALE, SIDES, SIZES, write_preset
from omegaconf import OmegaConf

from conf.schema import BackboneConfig
from errors import UserError
from models.backbones import architecture_digest, build_backbone, depth_factors
from models.model_layers import PresetEncoder
from models.model_layers.preset_encoder import taps_of
from models.parts import Parts, dtype_policy
from models.presets import interpolated_positions

pytest.importorskip("keras_hub", reason="requirements-keras-hub.txt is not installed")

RARE = {"deit", "swin", "metaclip2", "resnet_v2", "hgnetv2"}  # tested every night
CNNS = {"vgg", "resnet", "resnet_v2", "hgnetv2"}


def each(*families: str) -> list:
    """Parameters of tests; those of rare families are slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in RARE)) for name in families]


FAMILIES = each(*SIZES)
TRANSFORMERS = each(*(name for name in SIZES if name not in CNNS))
WITH_CLASS_TOKEN = each(*PREFIX)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """Returns a function from a family to the folder of its preset, which is written once."""
    folder, written = tmp_path_factory.mktemp("presets"), {}

    def folder_of(family: str) -> str:
        if family not in written:
            written[family] = write_preset(folder / family, family)
        return written[family]

    return folder_of


def built(folder: str, size: int, **options) -> keras.Model:
    return build_backbone(BackboneConfig(name="made", preset=folder, **options), size)


def images(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


def by_hand(folder: str, family: str, pixels: np.ndarray, **options) -> np.ndarray:
    """The output of the preset's own backbone and image converter."""
    import keras_hub

    whole = keras_hub.models.Backbone.from_preset(folder, **options)
    converter = keras_hub.layers.ImageConverter.from_preset(folder)
    converter.image_size = pixels.shape[1:3]
    x = converter(pixels)
    if family == "siglip":  # its own output is one vector for an image
        encoder = whole.vision_encoder
        encoder = keras.Model(encoder.inputs, encoder.post_layer_norm.output)
    else:
        encoder = getattr(whole, "vision_encoder", whole)
    output = encoder(keras.tree.map_structure(lambda _: x, encoder.input))
    return np.asarray(list(output.values())[-1] if isinstance(output, dict) else output)


def as_tokens(features: np.ndarray, family: str) -> np.ndarray:
    """What `build_backbone` is to make of the output of a preset's backbone."""
    if family in PREFIX:
        return np.concatenate([features[:, :1], features[:, PREFIX[family] :]], axis=1)
    return features.reshape(len(features), SIDES[family], SIDES[family], -1)


def relative_error(actual, expected) -> float:
    return float(np.linalg.norm(np.asarray(actual) - expected) / np.linalg.norm(expected))


# Features


@pytest.mark.parametrize("family", FAMILIES)
def test_features_equal_those_of_the_preset(preset, family):
    pixels = images(SIZES[family])
    backbone = built(preset(family), SIZES[family])
    features = backbone(pixels)
    assert (None, *features.shape[1:]) == backbone.output.shape
    expected = as_tokens(by_hand(preset(family), family, pixels), family)
    assert relative_error(features, expected) < 1e-5


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_patches_are_in_reading_order(preset, family):
    """Without attention between tokens, a changed patch changes the token in its place."""
    side, size = SIDES[family], SIZES[family]
    tap = "stem" if family != "swin" else "stage1"
    backbone = built(preset(family), size, tap=tap)
    before = images(size, 1)
    after, down, right = before.copy(), 1, 2
    patch = size // side
    after[:, down * patch : (down + 1) * patch, right * patch : (right + 1) * patch] += 50
    change = np.abs(np.asarray(backbone(after)) - np.asarray(backbone(before)))
    if family in PREFIX:
        assert change[:, 0].max() == 0  # the class token
        change = change[:, 1:].reshape(1, side, side, -1)
    largest = np.unravel_index(change.max(axis=(0, 3)).argmax(), (side, side))
    assert largest == (down, right)
    if family != "swin":  # whose first stage attends within windows
        assert (change.max(axis=3) > 0).sum() == 1


@pytest.mark.parametrize("family", ["dinov2", "dinov3"])
def test_register_tokens_are_left_out(preset, family):
    """At the stem no token depends on another one, so other registers change nothing."""
    pixels = images(SIZES[family])
    backbone = built(preset(family), SIZES[family], tap="stem")
    before = np.asarray(backbone(pixels))
    [registers] = [each for each in backbone.weights if each.name == "register_tokens"]
    changed = registers + np.random.default_rng(0).normal(size=registers.shape)
    registers.assign(changed)
    np.testing.assert_array_equal(backbone(pixels), before)
    behind = built(preset(family), SIZES[family])  # where patches do attend to registers
    [registers] = [each for each in behind.weights if each.name == "register_tokens"]
    before = np.asarray(behind(pixels))
    registers.assign(changed)
    assert relative_error(behind(pixels), before) > 1e-3


@pytest.mark.parametrize("family", WITH_CLASS_TOKEN)
def test_the_class_token_is_the_first_one_and_no_other(preset, family):
    pixels = images(SIZES[family])
    backbone = built(preset(family), SIZES[family], tap="stem")
    before = np.asarray(backbone(pixels))
    names = ("cls_token", "class_token", "class_embedding")
    [token] = [each for each in backbone.weights if each.name in names]
    token.assign(token + np.random.default_rng(0).normal(size=token.shape))
    change = np.abs(np.asarray(backbone(pixels)) - before).max(axis=2)
    assert change[:, 0].min() > 0 and change[:, 1:].max() == 0


def test_images_are_scaled_by_the_preset_inside_the_model(preset):
    backbone = built(preset("resnet"), 64)
    pixels = images(64)
    scaled = backbone.get_layer("preprocessing")(pixels)
    np.testing.assert_allclose(scaled, pixels * SCALE + OFFSET, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", each("dinov3", "siglip", "clip", "swin", "vgg", "hgnetv2"))
def test_precision_reaches_every_layer(preset, family):
    expected = built(preset(family), SIZES[family])(images(SIZES[family]))
    with dtype_policy("mixed_bfloat16"):
        backbone = built(preset(family), SIZES[family])
    layers = backbone.layers[-1].model._flatten_layers()
    assert {layer.compute_dtype for layer in layers if layer.weights} == {"bfloat16"}
    actual = np.asarray(keras.ops.cast(backbone(images(SIZES[family])), "float32"))
    assert 1e-5 < relative_error(actual, np.asarray(expected)) < 0.1


# Taps


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_nothing_behind_a_tapped_block_is_computed(preset, family):
    tap = "block1" if family != "swin" else "stage1"
    part, whole = (built(preset(family), SIZES[family], tap=each) for each in (tap, None))
    layers, all_layers = (each.layers[-1].model.layers for each in (part, whole))
    missing = 1 if family == "metaclip2" else 2  # the second block, the last norm
    assert len(all_layers) - len(layers) == missing
    assert part.count_params() < whole.count_params()


@pytest.mark.parametrize("family", ["dinov2", "dinov3"])
def test_a_block_is_the_stage_of_the_same_number_in_kerashub(preset, family):
    import keras_hub

    pixels = images(SIZES[family])
    features = built(preset(family), SIZES[family], tap="block1")(pixels)
    backbone = keras_hub.models.Backbone.from_preset(preset(family))
    stage = keras.Model(backbone.input, backbone.pyramid_outputs["stage1"])
    x = np.float32(pixels * SCALE + OFFSET)
    output = np.asarray(stage(keras.tree.map_structure(lambda _: x, stage.input)))
    expected = as_tokens(output, family)
    assert relative_error(features, expected) < 1e-5


@pytest.mark.parametrize(
    ("family", "tap", "shape"),
    [
        ("resnet", "P3", (8, 8, 16)),
        ("hgnetv2", "stage2", (8, 8, 16)),
        ("vgg", "block1_conv1", (64, 64, 8)),
        ("swin", "stage1", (7, 7, 32)),
        ("siglip", "block2", (4, 4, 32)),
        ("clip", "stem", (17, 32)),
    ],
)
def test_a_tap_names_a_block_a_level_or_a_layer(preset, family, tap, shape):
    assert built(preset(family), SIZES[family], tap=tap).output.shape[1:] == shape


def test_an_unknown_tap_names_the_known_ones(preset):
    with pytest.raises(
        UserError, match=r"backbone.tap=blok1: .* did you mean block1.*stem, block1"
    ):
        built(preset("vit"), 64, tap="blok1")


# Image sizes


@pytest.mark.parametrize("family", FAMILIES)
def test_other_image_sizes_are_possible(preset, family):
    size, side = 2 * SIZES[family], 2 * SIDES[family]
    features = built(preset(family), size)(images(size))
    tokens = (1 + side**2,) if family in PREFIX else (side, side)
    assert tuple(features.shape[1:-1]) == tokens
    assert np.isfinite(features).all()


@pytest.mark.parametrize("family", each("vit", "deit", "siglip", "clip", "metaclip2"))
def test_interpolated_positions_belong_to_their_patches(preset, family):
    """Another position of the token k changes this token of the stem, and no other."""
    size, side = 2 * SIZES[family], 2 * SIDES[family]
    backbone = built(preset(family), size, tap="stem")
    small = built(preset(family), SIZES[family], tap="stem")
    [table], [own] = (
        [each for each in model.weights if "position" in each.path and "float" in each.dtype]
        for model in (backbone, small)
    )
    flat = np.reshape(table, (-1, 32))
    expected = interpolated_positions(np.reshape(own, (-1, 32)), len(flat))
    np.testing.assert_allclose(flat, expected, atol=1e-6)
    pixels, k = images(size, 1), 3 * side + 5
    before = np.asarray(backbone(pixels)).reshape(-1, 32)[-(side**2) :]
    flat[len(flat) - side**2 + k] += np.random.default_rng(0).normal(size=32)
    table.assign(flat.reshape(table.shape))
    after = np.asarray(backbone(pixels)).reshape(-1, 32)[-(side**2) :]
    assert np.flatnonzero(np.abs(after - before).max(axis=1) > 0).tolist() == [k]


@pytest.mark.parametrize("family", ["dinov2", "dinov3", "resnet"])
def test_at_another_size_features_equal_those_of_the_preset_too(preset, family):
    """These interpolate their positions in KerasHub, or have none."""
    size = 112 if family == "dinov2" else 96
    options = {} if family == "resnet" else {"image_shape": (size, size, 3)}
    pixels = images(size)
    features = np.asarray(built(preset(family), size)(pixels))
    expected = by_hand(preset(family), family, pixels, **options)
    if family in PREFIX:
        expected = np.concatenate([expected[:, :1], expected[:, PREFIX[family] :]], axis=1)
    assert relative_error(features, expected) < 1e-5


def test_interpolated_positions_keep_the_class_token_and_the_edges_of_a_ramp():
    """A table that is linear in row and column stays so, away from the border."""
    old, new = 8, 16
    table = np.moveaxis(np.mgrid[:old, :old], 0, 2).reshape(-1, 2).astype(np.float32)
    table = np.concatenate([[[100.0, -100.0]], table]).astype(np.float32)
    result = np.asarray(interpolated_positions(table, 1 + new * new))
    np.testing.assert_array_equal(result[0], table[0])
    grid = result[1:].reshape(new, new, 2)[4:-4, 4:-4]
    expected = (np.moveaxis(np.mgrid[:new, :new], 0, 2)[4:-4, 4:-4] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(grid, expected, atol=1e-4)


def test_a_table_that_is_no_square_grid_is_refused():
    with pytest.raises(ValueError, match="15 rows"):
        interpolated_positions(np.zeros((15, 4), np.float32), 65)


@pytest.mark.parametrize("family", ["dinov2", "vit"])
def test_an_image_size_between_patches_is_refused(preset, family):
    patch = SIZES[family] // SIDES[family]
    with pytest.raises(
        UserError, match=f"must be a multiple of {patch}.* {4 * patch} or {5 * patch}"
    ):
        built(preset(family), 4 * patch + 3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [28, 60])  # below the window of 7 patches, and between windows
def test_an_image_size_that_does_not_fit_names_the_preset_s_own(preset, size):
    with pytest.raises(UserError, match=rf"data.image_size={size}: .* takes 56 x 56"):
        built(preset("swin"), size)


# Saving


LOAD_WITHOUT_KERAS_HUB = """
import sys
from pathlib import Path
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *_: None if name == "keras_hub" else find(name, *_)
sys.modules["keras_hub"] = None
from models.saved_model import load_model
load_model(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_loading_without_the_package_names_the_command(preset, tmp_path):
    built(preset("vgg"), 64).save(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOAD_WITHOUT_KERAS_HUB, str(tmp_path)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "needs keras-hub: pip install -r requirements-keras-hub.txt" in outcome.stderr


LOAD_AND_PREDICT = """
import sys
import keras
import numpy as np
import models.model_layers
for path in sys.argv[1:]:
    loaded = keras.models.load_model(path + ".keras", compile=False)
    np.save(path + "-loaded.npy", np.asarray(loaded(np.load(path + "-images.npy"))))
"""


@pytest.mark.slow
def test_saved_models_predict_in_another_process(preset, tmp_path):
    expected, paths = {}, [str(tmp_path / family) for family in SIZES]
    for family, path in zip(SIZES, paths, strict=True):
        pixels = images(SIZES[family])
        backbone = built(preset(family), SIZES[family])
        backbone.save(f"{path}.keras")
        np.save(f"{path}-images.npy", pixels)
        expected[path] = np.asarray(backbone(pixels))
    command = [sys.executable, "-c", LOAD_AND_PREDICT, *paths]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for path in paths:
        np.testing.assert_allclose(np.load(f"{path}-loaded.npy"), expected[path], atol=1e-6)


@pytest.mark.parametrize("family", ["dinov2", "siglip"])
def test_trained_weights_are_saved_exactly(preset, family, tmp_path):
    """DINOv2's positions are frozen: at another size than its own, saving would change them."""
    size = 2 * SIZES[family]
    backbone = built(preset(family), size)
    Parts(backbone, keras.Sequential(), keras.Sequential()).unfreeze(0)
    trained = {variable.name for variable in backbone.trainable_variables}
    assert "interpolated_position_embeddings" not in trained and "mask_token" not in trained
    random = np.random.default_rng(0)
    for variable in backbone.trainable_variables:
        variable.assign(variable + random.normal(scale=0.05, size=variable.shape))
    expected = np.asarray(backbone(images(size)))
    backbone.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(backbone(images(size)), expected)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images(size)), expected)


def test_the_architecture_s_digest_depends_on_what_weights_do_not_tell(preset, tmp_path):
    folder = preset("vit")
    digest = architecture_digest(built(folder, 64))
    assert architecture_digest(built(folder, 64)) == digest
    assert architecture_digest(built(folder, 64, tap="block1")) != digest
    scaled = shutil.copytree(folder, tmp_path / "scaled")
    converter = json.loads((scaled / "image_converter.json").read_text())
    converter["config"]["offset"] = [0.0, 0.0, 0.0]
    (scaled / "image_converter.json").write_text(json.dumps(converter))
    assert architecture_digest(built(str(scaled), 64)) != digest


# Learning rates


def test_the_names_of_layers_tell_the_block_of_a_cnn():
    config = BackboneConfig(name="resnet50", weights="random", tap="conv2_block2_out")
    backbone = build_backbone(config, 32)
    backbone.trainable = True
    factors = depth_factors(backbone, 0.5)
    by_block = {"conv1_conv": 0.25, "conv1_bn": 0.25, "conv2_block1": 0.5, "conv2_block2": 1.0}
    assert {path: factors[path] for path in factors} == {
        path: next(factor for block, factor in by_block.items() if path.startswith(block))
        for path in factors
    }


def test_rates_fall_from_block_to_block(preset):
    backbone = built(preset("dinov2"), 56)
    backbone.trainable = True
    factors = depth_factors(backbone, 0.5)
    assert set(factors) == {variable.path for variable in backbone.trainable_variables}
    parts = {"embeddings": 0.125, "layers_0": 0.25, "layers_1": 0.5, "layernorm": 1.0}
    for path, factor in factors.items():
        [part] = [part for part in parts if f"{part}/" in path]
        assert factor == parts[part]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_variable_has_a_path_of_its_own(preset, family):
    """The factors on learning rates are chosen by paths."""
    paths = [variable.path for variable in built(preset(family), SIZES[family]).variables]
    assert len(set(paths)) == len(paths)


# Errors


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(UserError, match=r"preset=dinov2_base: .*pip install -r requirements-keras"):
        built("dinov2_base", 224)


def test_an_unknown_name_suggests_known_ones():
    with pytest.raises(UserError, match=r"no such folder, and no image preset.*dinov2_base"):
        built("dinov2_bas", 224)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.weights.h5", "has no model.weights.h5"),
        ("image_converter.json", "has no image_converter.json, which says how images are scaled"),
    ],
)
def test_an_incomplete_folder_is_named_with_the_missing_file(preset, tmp_path, removed, message):
    folder = shutil.copytree(preset("resnet"), tmp_path / "preset")
    (folder / removed).unlink()
    with pytest.raises(UserError, match=message):
        built(str(folder), 64)


@pytest.mark.parametrize("damaged", ["config.json", "model.weights.h5", "image_converter.json"])
def test_a_damaged_file_is_one_line(preset, tmp_path, damaged):
    folder = shutil.copytree(preset("resnet"), tmp_path / "preset")
    (folder / damaged).write_bytes(b"{damaged")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        built(str(folder), 64)
    assert "\n" not in str(caught.value)


def test_a_text_model_is_no_image_encoder():
    import keras_hub

    with pytest.raises(ValueError, match="BertBackbone is not an image encoder"):
        taps_of(keras_hub.models.BertBackbone(20, 1, 2, 8, 16), 64)


def test_the_images_themselves_are_no_tap(preset):
    with pytest.raises(UserError) as caught:
        built(preset("resnet"), 64, tap="none")
    assert "input_layer" not in str(caught.value)


@pytest.mark.parametrize("name", ["dinov3_vit_small_lvd1689m", "hf://facebook/dinov3"])
def test_a_refused_or_failed_download_says_what_to_do(monkeypatch, name):
    import keras_hub

    def refuse(preset, **options):
        raise ValueError("401 Client Error")

    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", refuse)
    message = r"401 Client Error.*accept it on the preset's page and log in.*backbone.preset=FOLDER"
    with pytest.raises(UserError, match=message):
        built(name, 224)


def test_a_preset_without_image_converter_is_refused(monkeypatch):
    """KerasHub returns `None` for some checkpoints in other formats."""
    import keras_hub

    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", lambda *_: None)
    with pytest.raises(UserError, match=r"has no image_converter.json"):
        built("hf://facebook/dinov2", 224)


def test_a_name_reaches_the_download(monkeypatch):
    """The real code path, up to the request of the first file."""
    import keras_hub
    from keras_hub.src.utils import preset_utils

    requested = []

    def download(handle, path):
        requested.append((handle, path))
        raise ConnectionError("no network")

    monkeypatch.setattr(preset_utils.kagglehub, "model_download", download)
    name = "dinov2_with_registers_small"
    with pytest.raises(UserError, match=r"cannot be loaded .no network.*give its folder"):
        built(name, 224)
    handle = keras_hub.models.Backbone.presets[name]["kaggle_handle"].removeprefix("kaggle://")
    assert requested == [(handle, "config.json")]


def test_the_presets_of_named_configurations_exist():
    import keras_hub

    files = (ROOT / "conf/backbone").glob("*.yaml")
    named = {OmegaConf.load(file).get("preset") for file in files} - {None}
    assert len(named) == 8
    assert named <= set(keras_hub.models.Backbone.presets)


# Real weights


@pytest.mark.slow
@pytest.mark.shared
def test_real_features_of_a_photograph(shared):
    folder = str(shared / "weights/efficientnet_lite0_imagenet")
    photograph = sorted((shared / "photos/flowers17").glob("*/*.jpg"))[0]
    pixels = np.asarray(keras.utils.load_img(photograph, target_size=(224, 224)), np.float32)[None]
    features = built(folder, 224)(pixels)
    assert features.shape == (1, 7, 7, 1280)
    assert relative_error(features, by_hand(folder, "efficientnet", pixels)) < 1e-5
    assert built(folder, 224, tap="P4").output.shape == (None, 14, 14, 112)
    assert isinstance(built(folder, 224, tap="block6d_").layers[-1], PresetEncoder)
