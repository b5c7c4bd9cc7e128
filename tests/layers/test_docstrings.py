import pytest
from docstrings import check_example, check_sections

import layers


@pytest.mark.parametrize("name", layers.__all__)
def test_the_example_runs(name):
    check_example(getattr(layers, name))


@pytest.mark.parametrize("name", layers.__all__)
def test_the_sections_have_a_fixed_order(name):
    check_sections(getattr(layers, name))
