"""`key=value` arguments have Hydra's meaning in every command."""

import pytest
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf import overrides
from conf.schema import Config
from conf.validation import checked
from errors import UserError


def applied(make_config, *texts: str) -> Config:
    config = OmegaConf.structured(make_config())
    overrides.apply(config, texts)
    return checked(config)


@pytest.mark.parametrize(
    "text",
    [
        "data.path='set # 2'",
        'data.path="set # 2"',
        "data.path='a, b'",
        'data.path="it\'s"',
        "data.path=a:b",
        "data.path='a: b'",
        "data.path=007",
        "data.path=1_000",
        "data.path=1e3",
        "data.path=null",
        "data.path=Null",
        "data.path='null'",
        "data.path=true",
        "data.path=yes",
        "data.path='~'",
        "data.path='[1]'",
        r"data.path=\[1\]",
        "data.path=a b",
        "data.path='$5'",
        "data.path='größe'",
        "data.val_fraction=.25",
        "data.val_fraction=2e-1",
        "data.limit=5",
        "data.skip_damaged=True",
        "++data.limit=5",
        "data.train_crop=random",
        "one_class.target=[red,'a, b',3]",
        "one_class.target=007",
    ],
)
def test_a_value_is_that_of_train(make_config, text):
    assert applied(make_config, text) == make_config(text)


@pytest.mark.parametrize(
    "text", ["data.path=set # 2", "data.path=~/x", "data.path=größe", "data.path", "data.path=a=b"]
)
def test_what_train_cannot_parse_is_an_error_that_names_the_argument(make_config, text):
    with pytest.raises(OverrideParseException, match=text.partition("=")[0]) as caught:
        applied(make_config, "seed=1", text)
    assert text in str(caught.value)


def test_an_empty_path_is_refused_as_in_train(make_config):
    for config in (applied, lambda make, text: make(text)):
        with pytest.raises(UserError, match=r"data\.path=: is empty"):
            config(make_config, "data.path=")


@pytest.mark.parametrize("text", ["data.limit=1,2", "data.path=a, b", "seed=range(3)"])
def test_several_values_are_an_error_that_says_how_to_quote(make_config, text):
    with pytest.raises(UserError, match=r"several values; quote a value.*=\"a,b\"'"):
        applied(make_config, text)


@pytest.mark.parametrize("text", ["+data.limit=1", "~data.limit"])
def test_keys_are_neither_added_nor_deleted(make_config, text):
    with pytest.raises(UserError, match=r"only values can be changed; write key=value"):
        applied(make_config, text)


@pytest.mark.parametrize("text", ["data.imagesize=64", "data.limit=many", "data.path=[a]"])
def test_unknown_keys_and_wrong_types_are_errors(make_config, text):
    with pytest.raises(OmegaConfBaseException):
        applied(make_config, text)
