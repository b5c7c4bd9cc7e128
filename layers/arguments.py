"""The arguments of a layer: their checks and their values for `get_config`."""


def require(valid, requirement, value):
    """Raise an error that states `requirement` unless `valid`."""
    if not valid:
        raise ValueError(f"{requirement}. Received: {value!r}")


def attributes(layer, *names):
    """Return the attributes of `layer` with these names as a dictionary."""
    return {name: getattr(layer, name) for name in names}
