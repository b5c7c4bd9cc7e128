"""Stage 1's shortcut: frozen features from the store, descriptors in memory."""

import dataclasses
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from data import feature_store
from data.datasets import open_dataset
from data.feature_store import stores
from data.inputs import ImageInputs
from errors import UserError
from models.backbones import build_backbone
from models.heads import build_descriptor
from training import feature_extraction
from training.feature_extraction import (
    descriptors,
    fits_in_memory,
    stored_features,
)


@pytest.fixture
def configured(folder_config, image_folder_path, tmp_path):
    """The configuration of a run whose features are kept in this test's own folder."""

    def make(*overrides: str):
        return folder_config(
            image_folder_path,
            f"trainer.feature_dir={tmp_path / 'features'}",
            "data.image_size=32",
            *overrides,
        )

    return make


def stored(config):
    dataset = open_dataset(config.data, config.seed)
    backbone = build_backbone(config.backbone, config.data.image_size)
    return stored_features(config, dataset, backbone), dataset, backbone


def store_names(tmp_path) -> set[str]:
    return {folder.name for folder, _, _, _ in stores(tmp_path / "features")}


def test_features_are_the_backbone_s_maps_of_the_evaluation_views(configured):
    config = configured()
    features, dataset, backbone = stored(config)
    indices = np.array([17, 3, 8])
    images = ImageInputs(dataset.images, config.data)
    for mirrored in (False, True):
        expected = backbone(images.evaluation(indices, mirrored)).numpy()
        np.testing.assert_allclose(
            features.evaluation(indices, mirrored), expected, rtol=1e-4, atol=1e-3
        )


def test_a_second_run_computes_nothing(configured, capsys):
    config = configured()
    features, dataset, _ = stored(config)

    def refuses(batch, training):
        raise AssertionError("the backbone was asked again")

    backbone = build_backbone(config.backbone, config.data.image_size)
    backbone.call = refuses
    again = stored_features(config, dataset, backbone)
    np.testing.assert_array_equal(
        again.evaluation(dataset.indices), features.evaluation(dataset.indices)
    )


def test_runs_that_differ_after_the_backbone_share_a_store(configured, tmp_path):
    overrides = ("seed=0", "seed=1", "head=average", "data.val_fraction=0.3", "optimizer=adamw")
    for override in overrides:
        stored(configured(override))
        assert len(store_names(tmp_path)) == 1, override


@pytest.mark.slow
def test_runs_whose_features_differ_have_stores_of_their_own(configured, tmp_path):
    overrides = (
        "backbone.seed=0",
        "backbone.seed=1",
        "backbone.tap=block1_conv2",
        "data.crop_ratio=0.5",
        "data.keep_aspect=false",
        "data.limit=2",
    )
    for count, override in enumerate(overrides, 1):
        stored(configured(override))
        assert len(store_names(tmp_path)) == count, override


def test_the_mirrored_view_is_stored_only_where_something_reads_it(configured):
    assert stored(configured())[0].views == 2
    assert stored(configured("data.mirror=false"))[0].views == 1
    inputs, dataset, _ = stored(configured("data.mirror=false", "data.average_mirror=true"))
    plain, mirrored = (inputs.evaluation(dataset.indices, view) for view in (False, True))
    assert (plain != mirrored).any()
    np.testing.assert_array_equal(inputs.training(dataset.indices, 0, 0), plain)


def test_a_store_with_both_views_serves_a_run_that_needs_the_plain_one(configured, tmp_path):
    both, dataset, _ = stored(configured())
    plain, _, _ = stored(configured("data.mirror=false"))
    assert len(store_names(tmp_path)) == 1
    for read in (plain.evaluation(dataset.indices), plain.training(dataset.indices, 0, 0)):
        np.testing.assert_array_equal(read, both.evaluation(dataset.indices))


def test_an_unfinished_store_with_both_views_does_not_replace_the_plain_one(configured, tmp_path):
    stored(configured())
    [(folder, _, _, _)] = stores(tmp_path / "features")
    (folder / "complete").unlink()
    stored(configured("data.mirror=false"))
    assert len(store_names(tmp_path)) == 2


@pytest.mark.slow
def test_crops_of_boxes_have_a_store_of_their_own(make_config, image_folder_path, tmp_path):
    paths = sorted(image_folder_path.rglob("*.png"))
    for bottom in (16, 18):
        text = [f"{path},{path.parent.name},0 0 12 {bottom}\n" for path in paths]
        (tmp_path / f"{bottom}.csv").write_text("".join(["path,label,box\n", *text]))

    def config(bottom: int, *overrides: str):
        return make_config(
            "data=image_list", f"data.path={tmp_path / str(bottom)}.csv", "data.image_size=32",
            "backbone=vgg16_random", "backbone.tap=block1_conv1",
            f"trainer.feature_dir={tmp_path / 'features'}", *overrides,
        )  # fmt: skip

    whole, _, _ = stored(config(16))
    small, dataset, _ = stored(config(16, "data.crop=box"))
    stored(config(18, "data.crop=box"))
    stored(config(18, "data.crop=box", "data.box_margin=0"))
    assert len(store_names(tmp_path)) == 4
    indices = dataset.indices
    assert not np.array_equal(whole.evaluation(indices), small.evaluation(indices))


WORKER = """
    import sys, time
    from pathlib import Path

    from hydra import compose, initialize_config_dir

    from conf.validation import checked
    from data import feature_store

    feature_store.SHARD_BYTES, feature_store.EXTRACTION_BATCH = 1, 2  # one batch a shard
    from data.datasets import open_dataset
    from models.backbones import build_backbone
    from training import feature_extraction

    log, *overrides = sys.argv[1:]
    with initialize_config_dir(str(Path("conf").absolute()), version_base="1.3"):
        config = checked(compose("config", overrides))

    class LoggedImages(feature_extraction.ImageInputs):
        def evaluation(self, indices, mirrored=False):
            with open(log, "a") as file:
                file.write("".join(f"{index}\\n" for index in indices))
            while not list(Path(config.trainer.feature_dir).glob("*/*.bin")):
                time.sleep(0.01)  # the other one makes the first shard
            return super().evaluation(indices, mirrored)

    feature_extraction.ImageInputs = LoggedImages
    dataset = open_dataset(config.data, config.seed)
    backbone = build_backbone(config.backbone, config.data.image_size)
    feature_extraction.stored_features(config, dataset, backbone)
"""


@pytest.mark.slow
def test_two_workers_make_the_store_of_one(image_folder_path, make_config, tmp_path, monkeypatch):
    def overrides(folder: str) -> list[str]:
        return [
            "data=image_folder",
            f"data.path={image_folder_path}",
            "data.image_size=32",
            "backbone.tap=block3_conv1",
            f"trainer.feature_dir={tmp_path / folder}",
        ]

    log = tmp_path / "log"
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), log, *overrides("shared")],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    for module in (feature_store, feature_extraction):
        monkeypatch.setattr(module, "EXTRACTION_BATCH", 2)
    monkeypatch.setattr(feature_store, "SHARD_BYTES", 1)
    stored(make_config(*overrides("alone")))
    while other.poll() is None and not log.exists():
        time.sleep(0.01)
    stored(make_config(*overrides("shared")))
    errors = other.communicate(timeout=300)[1]
    assert other.returncode == 0, errors
    assert 0 < len(log.read_text().split()) < 24  # the other one's share
    [alone], [shared] = stores(tmp_path / "alone"), stores(tmp_path / "shared")
    assert len(list(alone[0].iterdir())) == 12 + 3
    for path in alone[0].iterdir():
        assert (shared[0] / path.name).read_bytes() == path.read_bytes()


def test_an_undecodable_image_is_named(configured, tmp_path, draw_images):
    for name in ("ash", "oak"):
        paths = draw_images(tmp_path / "own" / name, 6)
    paths[4].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^oak/4\.png cannot be decoded .*data\.skip_damaged"):
        stored(configured(f"data.path={tmp_path / 'own'}"))


def test_descriptors_are_those_of_the_stored_maps(configured):
    config = configured("head=improved_bilinear")
    features, dataset, backbone = stored(config)
    descriptor = build_descriptor(config.head, backbone.output.shape[1:], config.seed)
    vectors = descriptors(config, features, descriptor)
    assert vectors.shape == (64 * 65 // 2,) and vectors.views == 2
    indices = dataset.splits["train"]
    for mirrored in (False, True):
        expected = descriptor(features.evaluation(indices, mirrored)).numpy()
        np.testing.assert_allclose(vectors.evaluation(indices, mirrored), expected, atol=1e-4)


def test_descriptors_must_fit_into_the_memory_that_is_allowed(configured):
    config = configured()
    _, dataset, backbone = stored(config)
    descriptor = build_descriptor(config.head, backbone.output.shape[1:], config.seed)
    needed = len(dataset.indices) * 2 * (64 * 65 // 2) * 4 / 2**30
    for gib, fits in ((needed * 1.01, True), (needed * 0.99, False)):
        trainer = dataclasses.replace(config.trainer, stage_1_gib=gib)
        changed = dataclasses.replace(config, trainer=trainer)
        assert fits_in_memory(changed, dataset, descriptor) is fits


# Content hashes


def test_hashes_are_kept_beside_the_features_and_read_with_them(configured, monkeypatch):
    _, first, _ = stored(configured())
    assert sorted(first.hashes) == first.indices.tolist()
    assert len(set(first.hashes.values())) == len(first.indices)
    monkeypatch.setattr(type(first.images), "encoded", None)  # no image is read any more
    _, second, _ = stored(configured())
    assert second.hashes == first.hashes


@pytest.mark.parametrize("damage", ["absent", "cut", "changed"])
def test_hashes_that_a_store_lacks_are_computed_again(configured, tmp_path, damage):
    _, first, _ = stored(configured())
    [path] = (tmp_path / "features").glob("*/content-*.txt")
    if damage == "absent":
        path.unlink()
    else:
        text = path.read_text()
        path.write_text(text[:40] if damage == "cut" else text.replace(text[0], "x"))
    _, second, _ = stored(configured())
    assert second.hashes == first.hashes
    assert [each.name for each in (tmp_path / "features").glob("*/content-*")] == [path.name]
