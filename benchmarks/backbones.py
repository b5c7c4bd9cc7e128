"""Times KerasHub's image encoders with random weights, and measures their memory.

    pip install -r requirements-keras-hub.txt
    python benchmarks/backbones.py                  # every named transformer, at 224 pixels

Time and memory do not depend on the values of the weights, so nothing is downloaded. "ms" is the
median time of an image in a batch of 32, as the feature store computes it; "memory" is what
building the encoder and one such batch add to a process.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from benchmarks.measuring import in_own_process, median_seconds, peak_bytes
from models.model_layers import PresetEncoder

SMALL = {"num_layers": 12, "hidden_dim": 384, "num_heads": 6, "intermediate_dim": 1536}
BASE = {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "intermediate_dim": 3072}
LARGE = {"num_layers": 24, "hidden_dim": 1024, "num_heads": 16, "intermediate_dim": 4096}
ENCODERS = {
    "dinov2_small": (keras_hub.models.DINOV2Backbone, 14, SMALL | {"num_register_tokens": 4}),
    "dinov2_base": (keras_hub.models.DINOV2Backbone, 14, BASE | {"num_register_tokens": 4}),
    "dinov2_large": (keras_hub.models.DINOV2Backbone, 14, LARGE | {"num_register_tokens": 4}),
    "dinov3_small": (keras_hub.models.DINOV3Backbone, 16, SMALL),
    "dinov3_base": (keras_hub.models.DINOV3Backbone, 16, BASE),
    "siglip2_base": (keras_hub.models.SigLIPVisionEncoder, 16, BASE),
    "clip_vit_base": (keras_hub.models.CLIPVisionEncoder, 16, BASE),
}
BATCH = 32


def build(name: str, size: int) -> PresetEncoder:
    kind, patch, options = ENCODERS[name]
    return PresetEncoder(kind(patch_size=patch, image_shape=(size, size, 3), **options), size)


def images(size: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(BATCH, size, size, 3)), tf.float32)


def peak(name: str, size: int) -> float:
    """The bytes that building the encoder and computing a batch add to this process."""
    [added] = peak_bytes(lambda: tf.function(build(name, size))(images(size)))
    return added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--size", type=int, default=224, help="pixels, a multiple of the patch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores")
    print(f"{options.size} pixels, float32\n")
    print("| backbone | million weights | tokens | channels | ms | memory |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in options.encoders:
        encoder, batch = build(name, options.size), images(options.size)
        output = encoder(batch[:1])
        forward = tf.function(encoder)
        forward(batch)  # traces
        seconds = median_seconds({name: partial(forward, batch)}, options.rounds)[name]
        added = in_own_process(peak, name, options.size)
        print(
            f"| `{name}` | {encoder.count_params() / 1e6:.0f} | {np.prod(output.shape[1:-1])} | "
            f"{output.shape[-1]} | {seconds / BATCH * 1e3:.0f} | {added / 2**30:.1f} GiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
