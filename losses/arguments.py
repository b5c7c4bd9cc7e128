"""Checks of arguments.

`layers` and `losses` are two packages that import nothing from each other, so each has a copy of
this file. A test keeps the copies equal.
"""

import math
import numbers

import numpy as np


def require(valid, requirement, value):
    """Raise an error that states `requirement` unless `valid`."""
    if not valid:
        raise ValueError(f"{requirement}. Received: {value!r}")


def require_choice(name, value, choices):
    """Raise unless the argument `name` is one of `choices`."""
    valid = (value is None or isinstance(value, str)) and value in choices
    require(valid, f"`{name}` must be one of {tuple(choices)}", value)


def require_integer(name, value, least):
    """Raise unless the argument `name` is an integer of at least `least`; `True` is none."""
    valid = isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= least
    require(valid, f"`{name}` must be an integer of at least {least}", value)


def require_number(name, value, least=None, above=None):
    """Raise unless the argument `name` is a finite number, at least `least` or above `above`."""
    valid = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    bound = ""
    if least is not None:
        valid, bound = valid and value >= least, f" of at least {least}"
    if above is not None:
        valid, bound = valid and value > above, f" above {above}"
    require(valid, f"`{name}` must be a finite number{bound}", value)


def require_boolean(name, value):
    """Raise unless the argument `name` is `True` or `False`."""
    require(isinstance(value, (bool, np.bool_)), f"`{name}` must be a Boolean", value)


def attributes(instance, *names):
    """Return the attributes of `instance` with these names as a dictionary."""
    return {name: getattr(instance, name) for name in names}
