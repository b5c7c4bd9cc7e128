"""A faulty re-implementation of improved bilinear pooling. Each fault is a switch.

It follows the description of a head that stays at 30%. Without faults it equals this project's
head "improved_bilinear".
"""

import dataclasses
import enum

import keras

from conf.schema import Config
from experiments.post_mortem.faulty_layers import BatchL2, FaultyPooling, LoopedPooling
from layers import SignedSquareRoot, TriangularVectorization
from models.heads import build_descriptor


class Fault(enum.Enum):
    """A fault of the head or of its training; the values are its names in tables and files."""

    loops = "loops"  # Python loops over the samples and positions of a batch of fixed size
    pop = "useless pop"  # model.layers.pop() removes nothing: the map is taken after max pooling
    epsilon = "epsilon everywhere"  # epsilon is added to every entry, not only to the diagonal
    fourth_root = "fourth root"  # the square root of the singular values is taken twice
    batch_wide_l2 = "batch-wide norm"  # one L2 norm for the whole batch
    unit_norm = "not standardised"  # the classifier reads unit-norm vectors
    learning_rate = "rate 0.001"  # a constant learning rate, without momentum
    steps = "490 steps"  # training stops after 490 steps


Faults = frozenset[Fault]
ALL: Faults = frozenset(Fault)
# These faults change the pooled descriptors. `Fault.loops` only changes how they are computed.
IN_POOLING: Faults = frozenset({Fault.pop, Fault.epsilon, Fault.fourth_root})
VARIANTS: dict[str, Faults] = {
    "all faults": ALL,
    **{f"all but {fault.value}": ALL - {fault} for fault in Fault},
    **{
        f"all but {Fault.learning_rate.value}, {fault.value}": ALL - {Fault.learning_rate, fault}
        for fault in Fault
        if fault not in (Fault.loops, Fault.learning_rate)
    },
    **{f"only {fault.value}": frozenset({fault}) for fault in Fault},
    "no fault": frozenset(),
}


def build_faulty_descriptor(
    config: Config, faults: Faults, shape: tuple[int, ...], batch_size: int
) -> keras.Model:
    """Builds the head up to its L2 norm: pooling, matrix root and signed square root.

    The descriptor is one triangle of the matrix, as in `build_descriptor`. Its weights make inner
    products equal to those of the whole matrices.

    Args:
        config: The configuration of the run. `head.epsilon` is also the epsilon of a faulty root.
        faults: Faults outside pooling and root are ignored.
        shape: Shape of the feature map, (H, W, C).
        batch_size: Batch size of `Fault.loops`.

    Returns:
        A functional model "descriptor" from (B, H, W, C) to (B, D).
    """
    maps = keras.Input(shape, name="feature_map")
    x = keras.layers.MaxPooling2D(name="not_popped")(maps) if Fault.pop in faults else maps
    if not faults & {Fault.loops, Fault.epsilon, Fault.fourth_root}:
        head = dataclasses.replace(config.head, l2=False)
        return keras.Model(maps, build_descriptor(head, x.shape[1:], config.seed)(x))
    options = (config.head.epsilon, Fault.epsilon in faults, Fault.fourth_root in faults)
    looped = Fault.loops in faults
    pooling = LoopedPooling(batch_size, *options) if looped else FaultyPooling(*options)
    x = SignedSquareRoot(config.head.signed_root_epsilon, name="signed_root")(pooling(x))
    return keras.Model(maps, TriangularVectorization()(x), name="descriptor")


def build_norm(faults: Faults) -> keras.layers.Layer:
    """Builds the L2 norm of each descriptor or, if faulty, of the whole batch."""
    if Fault.batch_wide_l2 in faults:
        return BatchL2(name="l2")
    return keras.layers.UnitNormalization(axis=-1, name="l2")
