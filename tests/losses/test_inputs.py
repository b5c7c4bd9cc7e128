"""Arguments that a loss refuses when it is created."""

import fractions

import numpy as np
import pytest

from losses import CenterLoss, TripletHardLoss, TripletSemiHardLoss

NOT_NUMBERS = [float("nan"), float("inf"), -float("inf"), 1e39, 10**400, "1", True, None, [1.0], 1j]
NOT_COUNTS = [2.5, 2.0, 0, -1, float("nan"), "2", True, [2], np.float32(2)]
TRIPLET_LOSSES = (TripletHardLoss, TripletSemiHardLoss)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize("loss", TRIPLET_LOSSES)
def test_a_margin_is_a_finite_number(loss, value):
    with pytest.raises(ValueError, match="`margin` must be a finite number"):
        loss(margin=value)


@pytest.mark.parametrize("value", [*NOT_NUMBERS[:7], [0.5], -0.1, 1.1], ids=repr)
@pytest.mark.parametrize("rule", ["wen", "facenet"])
def test_alpha_is_a_number_from_0_to_1(rule, value):
    with pytest.raises(ValueError, match="`alpha` must be at least 0 and at most 1"):
        CenterLoss(3, rule, alpha=value)


@pytest.mark.parametrize("value", [*NOT_COUNTS, None], ids=repr)
def test_the_number_of_classes_is_a_positive_integer(value):
    with pytest.raises(ValueError, match="`num_classes` must be an integer of at least 1"):
        CenterLoss(value)


@pytest.mark.parametrize("value", [*NOT_COUNTS, 1], ids=repr)
def test_accumulation_steps_are_an_integer_of_at_least_2(value):
    with pytest.raises(ValueError, match="`accumulation_steps` must be an integer of at least 2"):
        CenterLoss(3, accumulation_steps=value)


@pytest.mark.parametrize("value", [0, 1, "False", None, float("nan"), []], ids=repr)
def test_soft_is_a_boolean(value):
    with pytest.raises(ValueError, match="`soft` must be True or False"):
        TripletHardLoss(soft=value)


@pytest.mark.parametrize("value", [3, True, None, ["L2"], np.array(["L2", "L2"])], ids=repr)
def test_a_choice_is_one_of_the_known_strings(value):
    for name in ("rule", "normalization"):
        with pytest.raises(ValueError, match=f"`{name}` must be one of"):
            CenterLoss(3, **{name: value})
    for loss in TRIPLET_LOSSES:
        for name in ("distance_metric", "degenerate"):
            with pytest.raises(ValueError, match=f"`{name}` must be one of"):
                loss(**{name: value})


def test_numbers_of_numpy_and_python_are_accepted_and_saved_as_python_s():
    for margin in (np.float32(0.5), np.float64(0.5), fractions.Fraction(1, 2), np.float16(0.5)):
        stored = TripletHardLoss(margin=margin, soft=np.True_).get_config()
        assert (stored["margin"], stored["soft"]) == (0.5, True)
        assert type(stored["margin"]) is float and type(stored["soft"]) is bool
    for count in (2, np.int64(2), np.uint8(2)):
        stored = CenterLoss(count, accumulation_steps=count).get_config()
        assert (stored["num_classes"], stored["accumulation_steps"]) == (2, 2)
        assert type(stored["num_classes"]) is type(stored["accumulation_steps"]) is int
