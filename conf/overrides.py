"""Parses `key=value` arguments as Hydra does, so that they mean the same in every command."""

from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from errors import UserError


def parse(texts: Iterable[str]) -> list[Override]:
    """Parses overrides in Hydra's grammar.

    Raises:
        hydra.errors.OverrideParseException: names the argument that is not in this grammar.
    """
    try:
        return OverridesParser.create().parse_overrides(list(texts))
    except OverrideParseException as error:
        if error.override in error.message:
            raise
        message = f"{error.override}: {error.message}"  # Hydra's own does not always name it
        raise OverrideParseException(error.override, message) from None


def single_value(override: Override) -> Any:
    """Returns the value that `key=value` sets.

    Raises:
        UserError: the override adds or deletes a key, or has several values.
    """
    if override.is_delete() or override.is_add():
        raise UserError(f"{override.input_line}: only values can be changed; write key=value")
    if override.is_sweep_override():
        raise UserError(
            f"{override.input_line}: several values; quote a value that contains a comma, as in "
            f"'{override.key_or_group}=\"a,b\"'"
        )
    return override.value()


def apply(config: DictConfig, texts: Iterable[str]) -> None:
    """Changes values of `config`, which has all keys, as `train.py` does.

    Raises:
        hydra.errors.OverrideParseException: see `parse`.
        omegaconf.errors.OmegaConfBaseException: unknown key or wrong type.
        UserError: see `single_value`.
    """
    for override in parse(texts):
        OmegaConf.update(config, override.key_or_group, single_value(override), merge=True)
