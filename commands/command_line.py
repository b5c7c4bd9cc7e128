"""Reads the arguments of `train.py`: options in any place, and settings of the form key=value."""

import argparse
import itertools
import re
from typing import NoReturn

from hydra._internal.utils import get_args_parser  # the parser that hydra.main uses

from commands.quoting import as_value
from commands.setting_errors import explain_option, explain_words, is_setting
from conf.paths import PATH_KEYS, expanded
from errors import UserError

FOLDER_KEYS = {"hydra.run.dir", "hydra.sweep.dir"}
_HOME = re.compile(r"(?<![^,])~[^,]*")  # one value, or one of several of a sweep


def arranged(arguments: list[str]) -> list[str]:
    """Returns the arguments as Hydra can read them.

    Options come first, as Hydra refuses settings before and behind an option; see also `with_home`.

    Raises:
        UserError: an option is unknown, an argument is no setting, or see `with_home`.
    """
    parser = get_args_parser()
    parser.error = _raise  # type: ignore[method-assign]
    try:
        known, unknown = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        one_dash = [each for each in arguments if re.match(r"-[a-zA-Z][\w.-]{2}", each)]
        raise UserError(
            explain_option(one_dash[0], arguments) if one_dash else str(error)
        ) from error
    if unknown:
        raise UserError(explain_option(unknown[0], arguments))
    options = list(arguments)
    for setting in known.overrides:
        options.remove(setting)
    return [*options, *settings(known.overrides)]


def settings(words: list[str]) -> list[str]:
    """Returns arguments of the form key=value as Hydra can read them; see `with_home`.

    Raises:
        UserError: a word is no setting, or see `with_home`.
    """
    _check_words(words)
    return list(map(with_home, words))


def _raise(message: str) -> NoReturn:
    raise argparse.ArgumentError(None, message)


def _check_words(words: list[str]) -> None:
    """Refuses words that are no settings, such as those of `key = value`."""
    wrong = next((number for number, word in enumerate(words) if not is_setting(word)), None)
    if wrong is not None:
        group = list(itertools.takewhile(lambda word: not is_setting(word), words[wrong:]))
        raise UserError(explain_words(words[wrong - 1] if wrong else None, group))


def with_home(setting: str) -> str:
    """Expands `~` in a setting of a path. Hydra reads `~` only between quotation marks.

    Raises:
        UserError: the folder of a run or sweep is empty.
    """
    key, _, value = setting.partition("=")
    if key.lstrip("+") not in PATH_KEYS | FOLDER_KEYS:
        return setting
    if key in FOLDER_KEYS and not value.strip(" '\""):
        raise UserError(f"{setting}: is empty; give a folder, or leave it out")
    if quoted := re.match(r"\s*([\"'])(~[^/\"']*)", value):
        return f"{key}={quoted[1]}{expanded(quoted[2])}{value[quoted.end() :]}"
    return f"{key}={re.sub(_HOME, lambda path: as_value(str(expanded(path[0]))), value)}"
