"""Writes settings so that a shell and Hydra read them back as they are."""

import re
import shlex

from hydra.errors import HydraException

from conf.overrides import parse


def shell_argument(key: str, text: str) -> str:
    """Returns `key=text`, with quotation marks for Hydra and for the shell where needed."""
    return shlex.quote(f"{key}={as_value(text)}")


def as_value(text: str) -> str:
    """Returns a text, with quotation marks if Hydra would read another value."""
    try:
        [override] = parse([f"key={text}"])
        if str(override.value()) == text:
            return text
    except HydraException:
        pass
    # Hydra reads two backslashes before a quotation mark as one.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', re.sub(r"(\\+)\Z", r"\1\1", text))
    return f'"{escaped}"'
