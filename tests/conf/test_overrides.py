"""`key=value` arguments mean the same in every command."""

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from conf import overrides
from conf.schema import Config
from errors import UserError

TEXTS = [
    'data.path="set # 2"',
    "data.path='a, b: c'",
    "data.path=a b",
    "data.path=007",
    "data.path=null",
    "data.path='null'",
    "data.path=",
    "data.val_fraction=1e-1",
    "data.limit=1_0",
    "data.mirror=False",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_value_is_what_hydra_composes(text):
    config = OmegaConf.structured(Config)
    overrides.apply(config, [text])
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("config", [text])
    key = text.partition("=")[0]
    assert OmegaConf.select(config, key) == OmegaConf.select(composed, key)


@pytest.mark.parametrize("text", ["data.path=(a", "data.path='a", "data.path", "a b=c"])
def test_a_text_outside_of_the_grammar_is_refused(text):
    with pytest.raises(HydraException):
        overrides.apply(OmegaConf.structured(Config), [text])


@pytest.mark.parametrize("text", ["data.path=a,b", "seed=range(3)", "+data.path=a", "~data.path"])
def test_a_text_that_sets_no_single_value_is_refused(text):
    with pytest.raises(UserError):
        overrides.apply(OmegaConf.structured(Config), [text])
