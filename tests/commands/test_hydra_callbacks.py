"""Hydra callbacks: the keys of a search space that the command line fixes."""

import pytest
from omegaconf import OmegaConf

from commands.hydra_callbacks import FixedKeys

SPACE = {"optimizer.learning_rate": "interval(0.1, 100)", "head.epsilon": "interval(1e-7, 1e-2)"}


def printed(capsys, space: dict | None, *overrides: str) -> str:
    hydra = {"sweeper": {"params": space}, "overrides": {"task": list(overrides)}}
    FixedKeys().on_multirun_start(OmegaConf.create({"hydra": hydra}), config_name="config")
    return capsys.readouterr().out


def test_fixed_keys_are_printed_in_one_line(capsys):
    fixed = ("optimizer.learning_rate=0.5", "head.epsilon=1e-5")
    assert printed(capsys, SPACE, "head=mpn_cov", *fixed) == (
        "optimizer.learning_rate=0.5, head.epsilon=1e-5: fixed by the command line, not searched\n"
    )


@pytest.mark.parametrize(
    ("space", "overrides"),
    [
        (SPACE, ["head=mpn_cov", "seed=0,1"]),
        (SPACE, ["head.epsilon=choice(1e-5,1e-4)", "optimizer.learning_rate=interval(1,2)"]),
        (None, ["optimizer.learning_rate=0.5"]),
    ],
    ids=["other keys", "another space", "no search"],
)
def test_nothing_is_printed_if_no_key_is_fixed(capsys, space, overrides):
    assert printed(capsys, space, *overrides) == ""
