"""Writes settings so that a shell and Hydra read them back as they are."""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


def shell_argument(key: str, text: str) -> str:
    """Returns `key=text`, with quotation marks for Hydra and for the shell where needed."""
    return shlex.quote(f"{key}={as_value(text)}")


def as_value(text: str) -> str:
    """Returns a text, with quotation marks if Hydra would read another value."""
    try:
        if str(OverridesParser.create().parse_override(f"key={text}").value()) == text:
            return text
    except HydraException:
        pass
    # Hydra reads two backslashes before a quotation mark as one.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', re.sub(r"(\\+)\Z", r"\1\1", text))
    return f'"{escaped}"'
