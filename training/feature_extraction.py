"""Reads what is frozen in stage 1 from the feature store, instead of computing it every epoch."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from conf.schema import Config, Region
from data.content import hash_images
from data.datasets import Dataset
from data.decoding import mirror
from data.feature_store import EXTRACTION_BATCH, FeatureStore
from data.inputs import ArrayInputs, ImageInputs, Inputs, MemoryInputs
from data.pipeline import evaluation_batches, user_errors
from data.progress import progress
from models.backbones import architecture_digest, weights_digest
from models.parts import Parts, StageInput


def stage_1_inputs(config: Config, dataset: Dataset, parts: Parts) -> tuple[StageInput, Inputs]:
    """Returns the inputs of stage 1, and their kind:

    - images with `trainer.feature_store=false`;
    - otherwise descriptors in memory, if they are frozen and fit in `trainer.stage_1_gib`;
    - otherwise stored features.
    """
    if not config.trainer.feature_store:
        return StageInput.images, ImageInputs(dataset.images, config.data)
    features = stored_features(config, dataset, parts.backbone)
    if parts.descriptor.trainable_weights or not fits_in_memory(config, dataset, parts.descriptor):
        return StageInput.features, features
    return StageInput.descriptors, descriptors(config, features, parts.descriptor)


def stored_features(config: Config, dataset: Dataset, backbone: keras.Model) -> ArrayInputs:
    """Returns the feature maps of every image of the splits, extracted once and stored on disk.

    It also sets `dataset.hashes`, which are stored beside the features.

    The store holds the features of centre crops, and of their mirror images if `data.mirror` or
    `data.average_mirror` is set. An existing store with mirror images also serves runs without.

    Raises:
        UserError: the disk is full, or an image cannot be decoded.
    """
    images = ImageInputs(dataset.images, config.data, dataset.hashes)
    stores = _stores(config, dataset, backbone)
    store = next((store for store in stores if store.complete), stores[0])

    @tf.function(input_signature=[tf.TensorSpec((None, *images.shape), images.dtype)])
    def forward(batch):
        return tf.cast(backbone(batch, training=False), tf.float32)

    def features_of(indices: np.ndarray) -> Iterator[np.ndarray]:
        batches = evaluation_batches(images, dataset.labels, indices, 1, EXTRACTION_BATCH)
        with user_errors():
            for batch, _ in batches:
                views = [batch, mirror(batch)][: store.views]
                yield np.stack([forward(view).numpy() for view in views], axis=1)

    features = store.open(features_of)
    features.views = training_views(config)  # the store may hold one more
    _read_content(store, dataset)
    return features


def are_stored(config: Config, dataset: Dataset, backbone: keras.Model) -> bool:
    """Returns whether `stored_features` has nothing to extract, unless a store is damaged."""
    return any(store.complete for store in _stores(config, dataset, backbone))


def _stores(config: Config, dataset: Dataset, backbone: keras.Model) -> list[FeatureStore]:
    """Returns the stores that may serve: that with the required views, then one with more."""
    root, key = Path(config.trainer.feature_dir), feature_key(config, dataset, backbone)
    shape = backbone.output.shape[1:]
    return [
        FeatureStore(root, key, dataset.indices, shape, "float32", views)
        for views in range(stored_views(config), 3)
    ]


def _read_content(store: FeatureStore, dataset: Dataset) -> None:
    """Sets `dataset.hashes` from the store. Hashes that it lacks are computed and stored."""
    stored = store.content()
    if stored is None:
        hash_images(dataset, store.indices)
        store.save_content([dataset.hashes[index] for index in store.indices])
    else:
        dataset.hashes.update(zip(store.indices.tolist(), stored, strict=True))


def fits_in_memory(config: Config, dataset: Dataset, descriptor: keras.Model) -> bool:
    """Returns whether the descriptors of all stored views fit in `trainer.stage_1_gib`."""
    size = len(dataset.indices) * stored_views(config) * descriptor.output.shape[-1]
    return size * 4 <= config.trainer.stage_1_gib * 2**30


def descriptors(config: Config, features: ArrayInputs, descriptor: keras.Model) -> MemoryInputs:
    """Computes the descriptors of all stored feature maps, in memory, in float32.

    Args:
        descriptor: from feature maps to descriptors; it must have no trained weights.
    """
    forward, shape = inference(descriptor), descriptor.output.shape[1:]
    vectors = np.empty((stored_views(config), len(features.indices), *shape), np.float32)
    size = config.trainer.batch_size
    with progress(len(features.indices), "pooling descriptors") as bar:
        for start in range(0, len(features.indices), size):
            indices = features.indices[start : start + size]
            for view in range(len(vectors)):
                maps = features.evaluation(indices, mirrored=bool(view))
                vectors[view, start : start + size] = forward(maps).numpy()
            bar.update(len(indices))

    return MemoryInputs(features.indices, vectors, features.views)


def inference(model: keras.Model) -> Callable:
    """Returns a compiled function from a batch to the outputs of a model that is not trained."""
    return tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)


def stored_views(config: Config) -> int:
    """Returns 2 if training or evaluation reads mirrored images, else 1."""
    return 2 if config.data.average_mirror else training_views(config)


def training_views(config: Config) -> int:
    """Returns 2 if training reads mirrored images, else 1."""
    return 2 if config.data.mirror else 1


def feature_key(config: Config, dataset: Dataset, backbone: keras.Model) -> dict:
    """Returns everything that the stored features depend on."""
    data = config.data
    preprocessing: list[float | str] = [data.image_size, data.crop_ratio, data.keep_aspect]
    if data.crop is Region.box:
        boxes = np.array([dataset.images.box(index) for index in dataset.indices])
        digest = hashlib.blake2b(boxes.tobytes(), digest_size=16).hexdigest()
        preprocessing += [data.box_margin, digest]
    key = {
        "version": 1,  # of data/decoding.py: increase it when decoding or cropping changes
        "data": dataset.name,
        "pictures": dataset.fingerprint(),
        "preprocessing": preprocessing,
        "backbone": f"{config.backbone.name}/{config.backbone.tap or 'last'}",
        "weights": weights_digest(backbone),
        "precision": config.trainer.precision.value,
    }
    if config.backbone.preset is not None:  # its files describe it and the scaling of images
        key["architecture"] = architecture_digest(backbone)
    return key
