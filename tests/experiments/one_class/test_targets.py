"""Which class `one_class.target` names."""

import pytest

from conf.schema import OneClassConfig
from errors import UserError
from experiments.one_class.targets import class_labels

NUMBERS = ["1", "10", "2"]  # sorted as text, as classes are


@pytest.mark.parametrize(
    ("target", "names", "label"),
    [
        (1, NUMBERS, 0),
        ("1", NUMBERS, 0),
        (10, NUMBERS, 1),
        (2, NUMBERS, 2),
        (0, NUMBERS, 0),  # no class is called 0, so it is a number
        (1, ["ash", "oak"], 1),
        (1000, ["1_000", "2_000"], 0),
        (1000.0, ["1e3", "2e3"], 0),
        (2, ["1.0", "2.0", "02"], 2),
        (2.0, ["1.0", "2.0", "02"], 1),
        (True, ["no", "true"], 1),
        (None, ["null", "some"], 0),
        ("orchide\u0301e", ["iris", "orchid\xe9e"], 1),
        ("a $x$ b", ["a $x$ b", "c"], 0),
    ],
)
def test_a_name_is_tried_before_a_number(target, names, label):
    assert class_labels(OneClassConfig(target=target), names) == [label]
    assert class_labels(OneClassConfig(target=[target]), names) == [label]


def test_a_value_that_two_names_are_read_as_is_refused():
    with pytest.raises(UserError, match=r"may be 1000 and 1_000; quote the name.*'\"1000\"'"):
        class_labels(OneClassConfig(target=1000), ["1000", "1_000"])
    assert class_labels(OneClassConfig(target="1_000"), ["1000", "1_000"]) == [1]


@pytest.mark.parametrize("target", [3, -1, "3", 1.5, "pink", False])
def test_other_values_are_refused_with_the_names(target):
    with pytest.raises(UserError, match=r"no such class; give one of the names 1, 10, 2, or a num"):
        class_labels(OneClassConfig(target=target), NUMBERS)
