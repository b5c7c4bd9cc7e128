"""The arguments of a layer: their checks and their values for `get_config`."""

import numbers

import numpy as np

LARGEST = float(np.finfo("float32").max)


def require(valid, requirement, value):
    """Raise an error that states `requirement` unless `valid`."""
    if not valid:
        raise ValueError(f"{requirement}. Received: {value!r}")


def is_integer(value):
    """Return whether `value` is an integer of Python or NumPy, but not a Boolean."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_finite(value):
    """Return whether `value` is a real number of Python or NumPy that is finite in float32."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and bool(abs(value) <= LARGEST)


def require_flag(name, value):
    """Raise an error unless `value` is True or False."""
    require(value in (True, False), f"`{name}` must be True or False", value)


def attributes(layer, *names):
    """Return the attributes of `layer` with these names as a dictionary."""
    return {name: getattr(layer, name) for name in names}
