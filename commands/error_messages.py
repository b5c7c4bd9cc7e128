"""Turns errors of Hydra and OmegaConf into one line that says what to correct."""

import difflib
import re

from hydra.errors import OverrideParseException

from commands.setting_errors import explain_setting, explain_several_values, known_keys
from conf.schema import RENAMED
from errors import UserError


def format_error(error: BaseException) -> str:
    """Returns the message of an error in one line.

    For an error of Hydra or OmegaConf it includes the messages of the causes, and the known keys or
    choices that are closest to an unknown one. For a setting that Hydra cannot read, it includes
    the setting as it should be written.
    """
    if isinstance(error, OverrideParseException):
        error = UserError(explain_setting(error.override))
    if isinstance(error, UserError):  # spaces stay: they may be those of a path
        return " ".join(line.strip() for line in str(error).splitlines())
    message = "; ".join(text.rstrip(". ") for text in dict.fromkeys(_messages(error)))
    if several := re.search(
        r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)' (?:1\.|req)", message
    ):
        return explain_several_values(several[1])
    if re.search(r"Could not (find|load) 'hydra/(launcher|sweeper)/", message):
        message += "; it may need pip install -r requirements-launchers.txt"
    if "hydra.runtime" in message:
        return (
            "the folder of the run, or the current folder, has ${ in its name, which Hydra cannot "
            "read; start from another folder, or give another hydra.run.dir"
        )
    if re.search(r"[Ii]nterpolation|grammar", message):
        message += r"; if the characters ${ are meant, write \${"
    if unknown := re.search(r"Key '(\w+)' (?:is )?not in", message):
        for old, new in RENAMED.items():
            if old.rpartition(".")[2] == unknown[1]:
                return f"{old}: is called {new} now"
        return message + (_suggestion(unknown[1], known_keys()) or "; see conf/schema.py")
    if unknown := re.search(r"find '(\w+)/(\w+)'.*Available options in .*: (.*)", message):
        group, choice, choices = unknown[1], unknown[2], unknown[3].split()
        suggestion = _suggestion(choice, {name: [f"{group}={name}"] for name in choices})
        return f"{group}={choice}: unknown; the choices are {', '.join(choices)}{suggestion}"
    return message


def _messages(error: BaseException | None) -> list[str]:
    """The messages of an error and its causes, without Hydra's advice."""
    if error is None:
        return []
    text = re.sub(r"\n\s*full_key: (.*)", r" (\1)", str(error))
    text = re.sub(r"\n\s*(object_type|reference_type)=.*", "", text)
    text = re.sub(r"\n(To append|Config search path)[^\0]*", "", text)
    return [" ".join(text.split()), *_messages(error.__cause__)]


def _suggestion(name: str, known: dict[str, list[str]]) -> str:
    matches = [key for each in difflib.get_close_matches(name, known, n=2) for key in known[each]]
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
