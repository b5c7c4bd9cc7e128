"""Improved bilinear pooling as it is often re-implemented, with each fault a switch.

Rebuilt from the description of one such head. Without a fault it is the project's own head.
"""

import dataclasses
import enum

import keras

from conf.schema import Config
from experiments.post_mortem.faulty_layers import BatchL2, FaultyPooling, LoopedPooling
from layers import SignedSquareRoot, TriangularVectorization
from models.heads import build_descriptor


class Fault(enum.Enum):
    """What is wrong, by the name that the tables give it."""

    loops = "loops"  # over samples and positions, in Python, for a batch of fixed size
    pop = "useless pop"  # model.layers.pop() takes no layer off: the map is the pooled one
    epsilon = "epsilon everywhere"  # added to every entry instead of the diagonal
    fourth_root = "fourth root"  # of the singular values: the root is taken twice
    batch_norm = "batch-wide norm"  # one L2 norm for the whole batch
    unit_norm = "not standardised"  # the classifier sees the unit-norm vector as it is
    learning_rate = "rate 0.001"  # constant, and without momentum
    steps = "490 steps"  # and no more


Faults = frozenset[Fault]
ALL: Faults = frozenset(Fault)
IN_POOLING: Faults = frozenset({Fault.pop, Fault.epsilon, Fault.fourth_root})  # and in its result
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
    config: Config, faults: Faults, shape: tuple[int, int, int], batch_size: int
) -> keras.Model:
    """Builds what comes before the L2 norm: pooling, root and signed root.

    As in `build_descriptor` the vector is one triangle with the whole matrix' inner products.

    Args:
        config: `head`, of which `epsilon` is the size of what a faulty root adds, too.
        faults: those that do not concern pooling and root change nothing here.
        shape: the feature map's (H, W, C).
        batch_size: what the loops are written for.

    Returns:
        A functional model "descriptor": (B, H, W, C) to (B, D).
    """
    maps = keras.Input(shape, name="feature_map")
    x = keras.layers.MaxPooling2D(name="not_popped")(maps) if Fault.pop in faults else maps
    if not faults & {Fault.loops, Fault.epsilon, Fault.fourth_root}:
        head = dataclasses.replace(config.head, l2=False)
        return keras.Model(maps, build_descriptor(head, x.shape[1:], config.seed)(x))
    how = (config.head.epsilon, Fault.epsilon in faults, Fault.fourth_root in faults)
    pooling = LoopedPooling(batch_size, *how) if Fault.loops in faults else FaultyPooling(*how)
    x = SignedSquareRoot(name="signed_root")(pooling(x))
    return keras.Model(maps, TriangularVectorization()(x), name="descriptor")


def build_norm(faults: Faults) -> keras.layers.Layer:
    """The L2 norm: of each picture, or of the batch."""
    if Fault.batch_norm in faults:
        return BatchL2(name="l2")
    return keras.layers.UnitNormalization(axis=-1, name="l2")
