"""The arguments of `train.py`: one line for a mistake, with a command that can be pasted."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from commands.command_line import arranged


def value_of(setting: str) -> str:
    value = OverridesParser.create().parse_override(setting).value()
    return getattr(value, "text", value)


@pytest.mark.parametrize(
    "path",
    [
        "/a (1)", "/a=b", "/a # 2", "/a;b", "/a&b!", "/é", "/écoles", "/鳥", "/a'b", '/a"b', "[/a",
        "/a]", "{/a", "/a,b", "/my runs (1),  $x='é'", "/a = b, (c", "C:\\é\\", "a~b",
    ],
)  # fmt: skip
def test_a_path_with_special_characters_is_shown_as_it_must_be_written(command, path):
    outcome = command("train.py", "data=image_folder", f"data.path={path}")
    assert outcome.status == 2
    assert outcome.error.startswith(f"error: data.path={path}: ")
    [setting] = shlex.split(outcome.error.rpartition("write ")[2].rpartition("marks, ")[2])
    assert value_of(setting) == path


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--epochs=5", "--epochs=5: unknown option; * write trainer.epochs=5"),
        ("-epochs 5", "-epochs: unknown option; * write trainer.epochs=5"),
        ("--batch-size 16 seed=1", "--batch-size: unknown option; * write trainer.batch_size=16"),
        ("--data_path 'a b'", "--data_path: unknown option; * write 'data.path=a b'"),
        ("--multi-run", "--multi-run: unknown option; did you mean --multirun?"),
        ("-multirun", "-multirun: unknown option; did you mean --multirun?"),
        ("--nonsense", "--nonsense: unknown option; see python train.py --help"),
        ("--cfg", "argument --cfg/-c: expected one argument"),
        ("trainer.epochs = 5", "trainer.epochs = 5: has a space; write trainer.epochs=5"),
        ("trainer.epochs= 5", "trainer.epochs= 5: has a space; write trainer.epochs=5"),
        ("trainer.epochs =5", "trainer.epochs =5: has a space; write trainer.epochs=5"),
        ("'trainer.epochs = 5'", "trainer.epochs = 5: has a space; write trainer.epochs=5"),
        ("trainer.epochs", "trainer.epochs: has no =; write trainer.epochs=VALUE"),
        ("epochs 5", "epochs 5: has no =; write trainer.epochs=5"),
        ("trainer.epochs:5", "trainer.epochs:5: has no =; write trainer.epochs=5"),
        ("trainer.epochs==5", "trainer.epochs==5: has two =; write trainer.epochs=5"),
        ("'trainer.epochs=5;'", "*; needs quotation marks; write a value such as *epochs=50"),
        ("average", "average: not of the form key=value; did you mean head=average?"),
        ("head={average}", "head={average}: cannot be read; the choices are attentive, *"),
        ("data.path=/my photos seed=1", "photos: not *; * write 'data.path=/my photos'"),
        ("'data.path=/a seed=1'", "*: two settings in one argument; write data.path=/a seed=1"),
        ("data.path='\"/a'", '*: the quotation mark " is not closed; write data.path=/a'),
        ("\"'data.path=/a b'\"", "*: quote the value, not the setting; write 'data.path=/a b'"),
        ("=5", "=5: has no key; write key=5"),
        ("''", "'': not of the form key=value"),
        ("seed=0,1", "seed=0,1: several values need a sweep, -m seed=0,1"),
        ("'seed=range(0,3)'", "seed=range(0,3): several values need a sweep, -m 'seed=range(0,3)'"),
        ("one_class.target=a,b", "*, or a list, 'one_class.target=[a,b]'"),
        ("data.path=", "data.path=: is empty; give a path, or leave the key out"),
        ("hydra.run.dir=", "hydra.run.dir=: is empty; give a folder, or leave it out"),
        ("'data.path=/a/${b}'", "* key 'b' not found (data.path); if the characters ${ are *"),
        ("'data.path=/a/${'", "*; write 'data.path=\"/a/\\${\"'"),
        ("'hydra.run.dir=\"/tmp/\\${b}\"'", "the folder of the run, * has ${ in its name, *"),
    ],
)
def test_a_mistake_is_one_line_that_says_which_argument_and_what_is_right(
    command, arguments, error
):
    outcome = command("train.py", *shlex.split(arguments))
    assert outcome.status == 2
    message, start = outcome.error.removeprefix("error: "), 0
    for part in error.split("*"):  # any text is between the parts
        assert part in message[start:], message
        start = message.index(part, start) + len(part)
    assert error.startswith("*") or message.startswith(error.split("*")[0])
    assert outcome.errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["head=average", "-m", "seed=0,1"],
        ["-m", "head=average", "seed=0,1"],
        ["head=average", "seed=0,1", "--multirun"],
    ],
)
def test_options_stand_anywhere(arguments):
    assert arranged(arguments) in (
        ["-m", "head=average", "seed=0,1"],
        ["--multirun", "head=average", "seed=0,1"],
    )


def test_an_option_keeps_its_value(command):
    outcome = command("train.py", "seed=7", "--cfg", "job", "head=average", "--package", "head")
    assert outcome.status == 0 and "pooling: average" in outcome.output


@pytest.mark.parametrize("home", ["/home/me", "/home/josé (1)"])
@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("data.path=~/photos", "{}/photos"),
        ("data.path=~", "{}"),
        ("backbone.weights=~/a b.h5", "{}/a b.h5"),
        ("++trainer.feature_dir=~/a (2)", "{}/a (2)"),
        ("hydra.run.dir=~/runs/é", "{}/runs/é"),
        ('hydra.sweep.dir="~/my runs"', "{}/my runs"),
        ("data.name=drawn_birds", "drawn_birds"),
    ],
)
def test_the_home_folder_is_expanded_in_paths(monkeypatch, home, setting, path):
    monkeypatch.setenv("HOME", home)
    [written] = arranged([setting])
    assert value_of(written) == path.format(home)


def test_the_home_folder_is_expanded_in_each_value_of_a_sweep(monkeypatch):
    monkeypatch.setenv("HOME", "/home/é")
    assert arranged(["-m", "data.path=~/a,/b,~/c"])[1] == 'data.path="/home/é/a",/b,"/home/é/c"'
