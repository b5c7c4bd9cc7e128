"""Checks of arguments. Each returns the argument as a value of Python.

`layers` and `losses` are two packages that import nothing from each other, so each has a copy of
this file. A test keeps the copies equal.
"""

import numbers

import numpy as np

LARGEST = float(np.finfo("float32").max)


def require(valid, requirement, value):
    """Raise an error that states `requirement` unless `valid`."""
    if not valid:
        raise ValueError(f"{requirement}. Received: {value!r}")


def choice(value, values, name, otherwise=""):
    """Return the argument `name`, one of `values`, which are strings or `None`."""
    known = (value is None or isinstance(value, str)) and value in values
    require(known, f"`{name}` must be one of {values}{otherwise}", value)
    return value


def boolean(value, name):
    """Return the argument `name`, True or False."""
    require(isinstance(value, (bool, np.bool_)), f"`{name}` must be True or False", value)
    return bool(value)


def integer(value, name, requirement, least, most=float("inf")):
    """Return the argument `name`, an integer from `least` to `most`."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    require(whole and least <= value <= most, f"`{name}` must be {requirement}", value)
    return int(value)


def finite(value, name, requirement="a finite number", least=-LARGEST, most=LARGEST):
    """Return the argument `name`, a number from `least` to `most`, as a float."""
    value = value.item() if isinstance(value, np.generic) else value  # float16 cannot be compared
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    require(number and least <= value <= most, f"`{name}` must be {requirement}", value)
    return float(value)


def positive(value, name):
    """Return the argument `name`, a finite number above 0, as a float."""
    number = finite(value, name, "a positive finite number")
    require(number > 0, f"`{name}` must be a positive finite number", value)
    return number


def attributes(instance, *names):
    """Return the attributes of `instance` with these names as a dictionary."""
    return {name: getattr(instance, name) for name in names}
