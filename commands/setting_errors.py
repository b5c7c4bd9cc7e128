"""Explains arguments that are no settings `key=value`, and writes them as they should be."""

import dataclasses
import difflib
import functools
import re
import shlex
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from commands.quoting import shell_argument
from conf.overrides import parse
from conf.schema import Config, DataConfig, as_text, dotted, literal

CONF = Path(__file__).parents[1] / "conf"
OPTIONS = (
    "help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun",
    "shell-completion", "config-path", "config-name", "config-dir", "experimental-rerun", "info",
)  # fmt: skip
SETTING = re.compile(r"(\+{0,2}|~)[\w$.@/:-]+\s*=.*", re.ASCII | re.DOTALL)
BRACKETS = (("[", "]"), ("{", "}"), ("(", ")"))


def is_setting(word: str) -> bool:
    """Whether a word looks like `key=value`, or like `~key`, which removes a key."""
    return bool(SETTING.fullmatch(word)) or word.startswith("~")


def explain_option(option: str, arguments: list[str]) -> str:
    """Explains an unknown option of `arguments`, such as `--epochs 5` for `trainer.epochs=5`."""
    name, _, value = option.lstrip("-").partition("=")
    following = arguments[arguments.index(option) + 1 :][:1]
    if not value and following and not following[0].startswith("-"):
        value = "" if is_setting(following[0]) else following[0]
    if keys := _keys_like(name.replace("-", "_")):
        return f"{option}: unknown option; settings have no dashes, write {_any(keys, value)}"
    if options := difflib.get_close_matches(name, OPTIONS, n=1):
        return f"{option}: unknown option; did you mean --{options[0]}?"
    return f"{option}: unknown option; see python train.py --help"


def explain_words(setting: str | None, words: list[str]) -> str:
    """Explains words that are no settings.

    Args:
        setting: the setting before them; `None` if there is none.
        words: one word at least.
    """
    word, text = words[0], " ".join(words)
    unquoted = word.strip("'\"")
    if unquoted != word and is_setting(unquoted):
        return f"{word}: quote the value, not the setting; write {_written(unquoted)}"
    if setting is not None and setting.endswith("="):  # key= value
        return f"{setting} {text}: has a space; write {_written(f'{setting}{text}')}"
    if re.fullmatch(r"[\w.@/+~-]+ =.*", text, re.DOTALL):  # key = value
        return f"{text}: has a space; write {_written(text)}"
    if word.startswith("="):
        return f"{word}: has no key; write key{word if word != '=' else '=value'}"
    if "=" in word:
        return f"{word}: {word.partition('=')[0]!r} is no key; write key=value"
    if colon := re.fullmatch(r"([\w.]+): ?(.+)", text, re.DOTALL):
        return f"{text}: has no =; write {_written('='.join(colon.groups()))}"
    if keys := known_keys().get(word.rpartition(".")[2], []):  # key, or key value
        keys = [word] if word in keys else keys
        return f"{text}: has no =; write {_any(keys, ' '.join(words[1:]))}"
    if groups := [f"{group}={word}" for group, names in _choices().items() if word in names]:
        return f"{word}: not of the form key=value; did you mean {' or '.join(groups)}?"
    if setting is not None:
        whole = _written(f"{setting} {text}")
        return f"{word}: not of the form key=value; if it belongs to {setting}, write {whole}"
    return f"{word or shlex.quote(word)}: not of the form key=value"


def explain_setting(setting: str) -> str:
    """Explains a setting that Hydra cannot read, and writes it with quotation marks."""
    if not is_setting(setting):
        return explain_words(None, [setting])
    key, _, value = setting.partition("=")
    if key != key.strip():
        return f"{setting}: has a space; write {_written(setting)}"
    if value.startswith("="):
        return f"{setting}: has two =; write {_written(key + '=' + value.lstrip('= '))}"
    name, value = key.lstrip("+~"), value.strip()
    second = re.search(r"\s+(?=\+{0,2}([\w.@/]+)=)", value)
    if second and (second[1] in _types() or second[1] in _choices()):
        both = _written(f"{key}={value[: second.start()]}"), _written(value[second.end() :])
        return f"{setting}: two settings in one argument; write {' '.join(both)}"
    if name in _choices():
        return f"{setting}: cannot be read; the choices are {', '.join(_choices()[name])}"
    if not _takes_text(name):
        default = _written(f"{key}={as_text(dotted(Config()).get(name, None))}")
        return f"{setting}: {_reason(value)}; write a value such as {default}"
    text = _without_open_quote(value)
    if text.count("${") > text.count("}"):
        text = literal(text)
    return f"{setting}: {_reason(value)}; write {shell_argument(key, text)}"


def explain_several_values(setting: str) -> str:
    """Explains a setting with several values outside of a sweep."""
    key, _, value = setting.partition("=")
    message = f"{setting}: several values need a sweep, -m {shlex.quote(setting)}"
    if key == "one_class.target":
        return f"{message}, or a list, {shlex.quote(f'{key}=[{value}]')}"
    if _takes_text(key.lstrip("+")) and not re.match(r"\w+\(", value):
        return f"{message}, or quotation marks, {shell_argument(key, value)}"
    return message


def known_keys() -> dict[str, list[str]]:
    """The full keys of each key name: `{"epochs": ["trainer.epochs"], ...}`."""
    keys: dict[str, list[str]] = {}
    for key in _types():
        if not key.startswith("reference."):  # the same as in `data`
            keys.setdefault(key.rpartition(".")[2], []).append(key)
    return keys


@functools.cache
def _types() -> dict[str, Any]:
    """The type of each key, and of each group."""
    types: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        types[field.name] = field.type
        group = DataConfig if field.name == "reference" else field.type
        if isinstance(group, type) and dataclasses.is_dataclass(group):
            types |= {f"{field.name}.{key.name}": key.type for key in dataclasses.fields(group)}
    return types


@functools.cache
def _choices() -> dict[str, list[str]]:
    """The choices of each group of the configuration."""
    files = sorted(CONF.glob("*/*.yaml"))
    groups = dict.fromkeys(path.parent.name for path in files)
    return {group: [path.stem for path in files if path.parent.name == group] for group in groups}


def _keys_like(name: str) -> list[str]:
    """The full keys that may be meant by a name, such as "batch_size" or "data_path"."""
    names = known_keys() | {key.replace(".", "_"): [key] for key in _types() if "." in key}
    names |= {key: [key] for key in _types()}
    close = [name] if name in names else difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return names[close[0]] if close else []


def _takes_text(key: str) -> bool:
    """Whether a key takes a text, or is none of the schema's, such as one of Hydra's."""
    kind = str(_types().get(key, str))
    return "str" in kind or "Any" in kind


def _reason(value: str) -> str:
    for mark in "\"'":
        if value.count(mark) % 2:
            return f"the quotation mark {mark} is not closed"
    for opening, closing in BRACKETS:
        if value.count(opening) != value.count(closing):
            return f"a bracket {opening} or {closing} has no counterpart"
    special = dict.fromkeys(re.sub(r"[\w\s/.+%*@?|\\$-]", "", value, flags=re.ASCII))
    return f"a value with {' '.join(special)} needs quotation marks" if special else "is no value"


def _without_open_quote(value: str) -> str:
    """Removes a quotation mark that has no counterpart at the other end."""
    for mark in "\"'":
        if value.count(mark) == 1:
            return value.removeprefix(mark).removesuffix(mark)
    return value


def _any(keys: list[str], value: str) -> str:
    return " or ".join(_written(f"{key}={value or 'VALUE'}") for key in keys)


def _written(setting: str) -> str:
    """A setting for the shell, with quotation marks for Hydra if it cannot be read otherwise."""
    key, _, value = (part.strip() for part in setting.partition("="))
    try:
        parse([f"{key}={value}"])
    except HydraException:
        return shell_argument(key, value)
    return shlex.quote(f"{key}={value}")
