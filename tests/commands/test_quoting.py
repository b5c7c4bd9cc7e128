"""Settings that are printed to be pasted."""

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from commands.quoting import as_value, shell_argument


@given(st.text("\\\"' a${}(),[]:=#é~%1\n", max_size=8))
def test_hydra_reads_the_text(text):
    value = OverridesParser.create().parse_override(f"data.path={as_value(text)}").value()
    assert str(getattr(value, "text", value)) == text


@pytest.mark.parametrize("text", ["runs/a", "my runs (1), $x='é'", "a#b; c", '"', "`ls`", "\\"])
def test_the_shell_passes_the_setting_on(text):
    command = f"printf %s {shell_argument('hydra.run.dir', text)}"
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert output.stdout == f"hydra.run.dir={as_value(text)}"


def test_a_text_that_needs_no_quotation_marks_has_none():
    assert shell_argument("hydra.run.dir", "/home/me/runs/3") == "hydra.run.dir=/home/me/runs/3"
