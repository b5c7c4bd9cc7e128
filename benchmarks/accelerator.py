"""Times and checks exact square roots of second moments on JAX or PyTorch, without TensorFlow.

    KERAS_BACKEND=jax JAX_ENABLE_X64=1 python benchmarks/accelerator.py
    KERAS_BACKEND=torch python benchmarks/accelerator.py --positions 196 --channels 512 --batch 32

It runs on a GPU if the backend has one. A cell is a number of positions N, of channels C and a
batch. In each cell, all methods take turns; times are medians in ms per image, forward and
backward, of whole C x C matrices. "x" is the speed relative to five Newton-Schulz steps on the
C x C matrix. Errors are relative Frobenius errors of root and gradient against float64, for one
image of ReLU features. "!" marks an error beyond the bounds of `SpectralPooling`.
"""

import argparse
import functools
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from layer_references import relative_error, root

from benchmarks.measuring import median_seconds
from layers import SecondOrderPooling, SpectralPooling
from layers.matrices import diagonal, transpose

BASELINE = "C side, Newton-Schulz 5"
SOLVER = "C side, eigh, automatic gradient"
EPSILON = SpectralPooling().epsilon


def automatic(x):
    """The root from an eigendecomposition of the C x C matrix, differentiated automatically."""
    ops = keras.ops
    a = transpose(x) @ x / x.shape[1]
    trace = ops.sum(diagonal(a), axis=1)[:, None, None]
    eigenvalues, v = ops.linalg.eigh(a + EPSILON * trace * ops.eye(x.shape[2], dtype=x.dtype))
    return (v * ops.sqrt(ops.relu(eigenvalues))[:, None]) @ transpose(v)


def methods():
    """Returns functions from features (B, N, C) to roots (B, C, C)."""
    return {
        BASELINE: SecondOrderPooling(root="newton_schulz", side="channels"),
        SOLVER: automatic,
        "eigh": SpectralPooling(method="eigh"),
        "products": SpectralPooling(method="products"),
        "products_float32": SpectralPooling(method="products_float32"),
    }


def on_jax(function):
    """Returns a compiled function from NumPy features and upstream gradient to two arrays."""
    import jax

    @jax.jit
    def both(x, upstream):
        value, pull_back = jax.vjp(function, x)
        return value, pull_back(upstream)[0]

    return jax.device_put, lambda x, upstream: jax.block_until_ready(both(x, upstream))


def on_torch(function):
    """As `on_jax`, but not compiled."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def both(x, upstream):
        x = x.clone().requires_grad_()
        value = function(x)
        value.backward(upstream)
        if device == "cuda":
            torch.cuda.synchronize()
        return value.detach(), x.grad

    return lambda array: torch.as_tensor(array, device=device), both


BACKENDS = {"jax": on_jax, "torch": on_torch}


def device_name() -> str:
    if keras.backend.backend() == "jax":
        import jax

        return f"JAX {jax.__version__}, {jax.devices()[0].device_kind}"
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"PyTorch {torch.__version__}, {name}"


def run_cell(positions: int, channels: int, batch: int, options) -> None:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(batch, positions, channels)), 0).astype(np.float32)
    upstream = rng.normal(size=(batch, channels, channels)).astype(np.float32)
    expected = root(x[:1], upstream[:1], EPSILON)
    bounds = (5e-6, 1e-4) if positions < channels else (3e-5, 2e-4)
    calls: dict[str, Callable] = {}
    errors: dict[str, list[float]] = {}
    for name, function in methods().items():
        if options.methods and not any(part in name for part in options.methods):
            continue
        put, both = BACKENDS[keras.backend.backend()](function)
        results = (keras.ops.convert_to_numpy(each) for each in both(put(x[:1]), put(upstream[:1])))
        errors[name] = [relative_error(*pair) for pair in zip(results, expected, strict=True)]
        calls[name] = functools.partial(both, put(x), put(upstream))
    times = median_seconds(calls, options.rounds)
    print(f"\nN {positions}, C {channels}, batch {batch}\n")
    print("| method | ms per image | x | root | gradient |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, seconds in times.items():
        speed = times.get(BASELINE, np.nan) / seconds
        exact = name != BASELINE  # five steps are not the root
        cells = [
            f"{error:.0e}{'!' * (exact and not error <= bound)}"
            for error, bound in zip(errors[name], bounds, strict=True)
        ]
        print(f"| {name} | {seconds / batch * 1e3:.3f} | {speed:.1f} | {' | '.join(cells)} |")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, nargs="+", default=[49, 196, 256, 784])
    parser.add_argument("--channels", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", help="only methods whose name contains one")
    options = parser.parse_args()
    if keras.backend.backend() not in BACKENDS:
        parser.error("set KERAS_BACKEND to jax or torch")
    print(device_name())
    for cell in itertools.product(options.positions, options.channels, options.batch):
        run_cell(*cell, options)


if __name__ == "__main__":
    main()
