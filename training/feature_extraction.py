"""Stage 1's shortcut: what is frozen is computed once, and read from then on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from conf.schema import Config, Crop
from data.datasets import Dataset
from data.feature_store import EXTRACTION_BATCH, FeatureStore
from data.inputs import ArrayInputs, ImageInputs, Inputs, MemoryInputs
from data.pipeline import evaluation_batches, user_errors
from data.progress import progress
from models.backbones import weights_digest
from models.parts import Parts


def warn_of_unused_crops(config: Config, asked: list[str]) -> None:
    """Says that stored features know no random crops, where some are asked for.

    Args:
        asked: `key=value`, as on the command line.
    """
    groups = {"data": config.data, "reference": config.reference}
    unused = [
        f"{group}.train_crop={data.train_crop.value}"
        for group, data in groups.items()
        if data is not None
        and data.train_crop is not Crop.center
        and any(text.lstrip("+").startswith(f"{group}.train_crop=") for text in asked)
    ]
    if config.trainer.feature_store and unused:
        print(
            f"{' and '.join(unused)}: no effect on stage 1, which reads stored features of centre "
            "crops; trainer.feature_store=false crops anew each epoch",
            flush=True,
        )


def head_inputs(
    config: Config, dataset: Dataset, parts: Parts
) -> tuple[keras.Model, Inputs, Callable]:
    """The smallest model that still holds all that stage 1 trains, what it reads, and how that
    becomes descriptors."""
    descriptor, backbone = parts.descriptor, parts.backbone
    if not config.trainer.feature_store:
        images = ImageInputs(dataset.images, config.data)
        return parts.from_images, images, lambda batch: descriptor(backbone(batch))
    features = stored_features(config, dataset, backbone)
    if not descriptor.trainable_weights and fits_in_memory(config, dataset, descriptor):
        return parts.linear, descriptors(config, features, descriptor), lambda batch: batch
    return parts.head, features, descriptor


def stored_features(config: Config, dataset: Dataset, backbone: keras.Model) -> ArrayInputs:
    """The backbone's feature maps of every picture that a split uses, from the feature store.

    They are those of the evaluation view, and of its mirror image where training or evaluation
    reads it; other augmentation needs `trainer.feature_store=false`. Where nothing reads the mirror
    image, a store that holds it too will do.

    Raises:
        UserError: the disk has no room, or a picture cannot be decoded.
    """
    images = ImageInputs(dataset.images, config.data)
    key = _key(config, dataset, backbone)
    stores = [  # the one that holds what is needed, before the one that holds more
        FeatureStore(
            Path(config.trainer.feature_dir),
            key,
            dataset.indices,
            backbone.output.shape[1:],
            "float32",
            views,
        )
        for views in range(_views(config), 3)
    ]
    store = next((store for store in stores if store.complete), stores[0])

    @tf.function(input_signature=[tf.TensorSpec((None, *images.shape), images.dtype)])
    def forward(batch):
        return tf.cast(backbone(batch, training=False), tf.float32)

    def features_of(indices: np.ndarray) -> Iterator[np.ndarray]:
        batches = evaluation_batches(images, dataset.labels, indices, 1, EXTRACTION_BATCH)
        with user_errors():
            for batch, _ in batches:
                seen = [batch, batch[:, :, ::-1]][: store.views]
                yield np.stack([forward(view).numpy() for view in seen], axis=1)

    features = store.open(features_of)
    features.views = _views(config)
    return features


def fits_in_memory(config: Config, dataset: Dataset, descriptor: keras.Model) -> bool:
    """Whether the descriptors of all stored views stay within `trainer.descriptor_gib`."""
    numbers = len(dataset.indices) * _views(config) * descriptor.output.shape[-1]
    return numbers * 4 <= config.trainer.descriptor_gib * 2**30


def descriptors(config: Config, features: ArrayInputs, descriptor: keras.Model) -> MemoryInputs:
    """The descriptors of all stored feature maps, in memory, float32.

    Right only where `descriptor` has no trained weights: then it too is frozen.
    """
    forward = tf.function(lambda batch: descriptor(batch, training=False), reduce_retracing=True)
    shape = descriptor.output.shape[1:]
    vectors = np.empty((features.views, len(features.indices), *shape), np.float32)
    size = config.trainer.batch_size
    with progress(len(features.indices), "pooling descriptors") as bar:
        for start in range(0, len(features.indices), size):
            indices = features.indices[start : start + size]
            for view in range(features.views):
                maps = features.evaluation(indices, mirrored=bool(view))
                vectors[view, start : start + size] = forward(maps).numpy()
            bar.update(len(indices))

    return MemoryInputs(features.indices, vectors)


def _views(config: Config) -> int:
    return 2 if config.data.mirror or config.data.average_mirror else 1


def _key(config: Config, dataset: Dataset, backbone: keras.Model) -> dict:
    """All that the stored numbers depend on."""
    data = config.data
    return {
        "version": 1,  # of decoding and cropping in data/pictures.py; goes up when they change
        "data": dataset.name,
        "pictures": dataset.fingerprint(),
        "preprocessing": [data.image_size, data.crop_ratio, data.keep_aspect],
        "backbone": f"{config.backbone.name}/{config.backbone.tap or 'last'}",
        "weights": weights_digest(backbone),
        "precision": config.trainer.precision.value,
    }
