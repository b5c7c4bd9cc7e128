import pytest
from docstrings import check_example, check_sections

import losses


@pytest.mark.parametrize("name", losses.__all__)
def test_the_example_runs(name):
    check_example(getattr(losses, name))


@pytest.mark.parametrize("name", losses.__all__)
def test_the_sections_have_a_fixed_order(name):
    check_sections(getattr(losses, name))
