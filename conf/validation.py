"""Checks a configuration by the rules in `conf/validation.yaml`."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from conf.overrides import parse
from conf.paths import make_paths_absolute
from conf.schema import Config, as_text, dotted, literal
from errors import UserError

RULES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def checked(composed: DictConfig) -> Config:
    """Converts a composed configuration to plain objects, and validates it.

    Keys added by `+key=value`, which Hydra accepts, are checked too. Paths become absolute.

    Raises:
        omegaconf.errors.OmegaConfBaseException: unknown key, wrong type or missing value.
        UserError: see `validate` and `make_paths_absolute`.
    """
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), literal(plain)))
    assert isinstance(config, Config)
    make_paths_absolute(config)
    validate(config)
    return config


def validate(config: Config) -> None:
    """Checks ranges, and the options that a choice requires.

    Raises:
        UserError: names the key, its value, and what would be right.
    """
    values = _flat(config)
    for interval, keys in RULES["ranges"].items():
        for key in keys:
            for name in {key, key.replace("data.", "reference.", 1)} & values.keys():
                if values[name] not in ("null", "auto") and not _is_in(interval, values[name]):
                    raise UserError(f"{name}={values[name]}: must be {_in_words(interval)}")
    for choice, requirements in RULES["requires"].items():
        for requirement, reason in requirements.items() if _holds(choice, values) else ():
            if not _holds(requirement, values):
                key, chosen = (re.split("[!=<>]", each)[0] for each in (requirement, choice))
                raise UserError(
                    f"{key}={values[key]}: {chosen}={values[chosen]} requires {requirement} "
                    f"({reason})"
                )
    size = config.data.image_size
    if config.reference is not None and config.reference.image_size != size:
        raise UserError(
            f"reference.image_size={config.reference.image_size}: one network reads both data "
            f"sets; set it to {size}, as data.image_size"
        )


def unused_options(config: Config, overrides: Iterable[str]) -> list[str]:
    """Returns one message per override that the chosen head, loss, task or solver does not read.

    Args:
        config: the composed configuration.
        overrides: `key=value` texts of the command line.
    """
    values, rules = _flat(config), RULES["read_only_with"]
    messages = []
    for override in parse(overrides):
        key = override.package or override.key_or_group
        group, _, name = key.partition(".")
        conditions = rules.get(group, []) if name else []
        for condition in rules.get(key.replace("reference.", "data.", 1), []):
            conditions = [*conditions, condition.replace("data.", f"{group}.")]
        unmet = [condition for condition in conditions if not _holds(condition, values)]
        if unmet:
            messages.append(f"{override.input_line}: has no effect without {' and '.join(unmet)}")
    return messages


def _holds(condition: str, values: dict[str, str]) -> bool:
    """Evaluates `key=a|b`, `key!=a`, `key>number` or `key<number`, joined by `or`."""
    for part in condition.split(" or "):
        key, relation, wanted = re.split(r"(!=|=|<|>)", part)
        value = values.get(key, "")  # `reference` is missing if it is not null
        if relation == ">":
            holds = float(value) > float(wanted)
        elif relation == "<":
            holds = float(value) < float(wanted)
        else:
            holds = (value in wanted.split("|")) == (relation == "=")
        if holds:
            return True
    return False


def _is_in(interval: str, text: str) -> bool:
    least, most = map(float, interval[1:-1].split(","))
    try:
        value = float(text)
    except ValueError:
        return False
    above = value > least or (value == least and interval[0] == "[")
    return above and (value < most or (value == most and interval[-1] == "]"))


def _in_words(interval: str) -> str:
    """Describes "[0, 1)" as "at least 0 and below 1"."""
    least, most = map(float, interval[1:-1].split(","))
    words = f"{'at least' if interval[0] == '[' else 'above'} {least:.10g}"
    if most == float("inf"):
        return words
    return f"{words} and {'at most' if interval[-1] == ']' else 'below'} {most:.10g}"


def _flat(config: Config) -> dict[str, str]:
    """Every key, dotted, with its value as on the command line, and the name of every group."""
    values = dotted(config)
    values |= {key.removesuffix(".name"): value for key, value in values.items()}
    return {key: as_text(value) for key, value in values.items()}
