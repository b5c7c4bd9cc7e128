"""Keys that a search would look through, and that its command fixes."""

import pytest
from omegaconf import OmegaConf

from commands.search_space import FixedKeys

SPACE = {"optimizer.learning_rate": "interval(0.1, 100)", "head.epsilon": "interval(1e-7, 1e-2)"}


def said(capsys, space: dict | None, *overrides: str) -> str:
    hydra = {"sweeper": {"params": space}, "overrides": {"task": list(overrides)}}
    FixedKeys().on_multirun_start(OmegaConf.create({"hydra": hydra}), config_name="config")
    return capsys.readouterr().out


def test_they_are_named_in_a_line(capsys):
    fixed = ("optimizer.learning_rate=0.5", "head.epsilon=1e-5")
    assert said(capsys, SPACE, "head=mpn_cov", *fixed) == (
        "optimizer.learning_rate=0.5, head.epsilon=1e-5: as the command says, and not searched\n"
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
def test_nothing_is_said_where_nothing_is_fixed(capsys, space, overrides):
    assert said(capsys, space, *overrides) == ""
