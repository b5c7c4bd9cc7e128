"""Checks of the docstrings of public classes."""

import doctest
import re
import sys

import keras
import numpy as np

SECTIONS = ["Args", "Call arguments", "Input shape", "Output shape", "Example", "Raises"]


def check_example(documented_class):
    """Run the examples of a class, which has at least one."""
    module = sys.modules[documented_class.__module__]
    results = doctest.testmod(module, extraglobs={"np": np, "keras": keras})
    assert results.attempted > 0 and results.failed == 0


def check_sections(documented_class):
    """Check the one-line summary, and that the sections have the order of Keras' layers."""
    summary, blank, *_ = documented_class.__doc__.split("\n")
    assert summary.endswith(".") and not blank
    sections = re.findall(r"^    (\S.*):$", documented_class.__doc__, re.MULTILINE)
    sections = [section for section in sections if section in SECTIONS]
    assert sections == sorted(sections, key=SECTIONS.index)
    assert {"Input shape", "Output shape", "Example", "Raises"} <= set(sections)
