"""Paths of a configuration are absolute, with the home folder in place of `~`."""

import pytest

from conf.paths import absolute, expanded, same_place
from errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a folder "photos" and a file "w.h5"; `~` is this folder too."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "w.h5").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "text", ["photos", "./photos/", "~/photos", "../{}/photos", "{here}/photos"]
)
@pytest.mark.parametrize("key", ["data.path", "reference.path", "trainer.feature_dir"])
def test_folders_are_stored_absolute(here, make_config, key, text):
    path = text.format(here.name, here=here)
    config = make_config("data@reference=drawn_birds", f"{key}='{path}'")
    group, name = key.split(".")
    assert getattr(getattr(config, group), name) == str(here / "photos")


@pytest.mark.parametrize(
    ("text", "stored"),
    [("w.h5", "{}/w.h5"), ("~/w.h5", "{}/w.h5"), ("imagenet", "imagenet"), ("imagnet", "imagnet")],
)
def test_a_weights_file_is_stored_absolute_and_a_name_is_not(here, make_config, text, stored):
    (here / "imagenet").touch()
    config = make_config(f"backbone.weights='{text}'")
    assert config.backbone.weights == stored.format(here)


@pytest.mark.parametrize("key", ["data.path", "backbone.weights", "trainer.feature_dir"])
def test_an_empty_path_is_refused(make_config, key):
    with pytest.raises(UserError, match=f"{key}=: is empty"):
        make_config(f"{key}=")


def test_no_path_stays_none(make_config):
    assert make_config().data.path is None


def test_a_tilde_that_is_no_home_folder_stays(here):
    assert absolute("a~b") == str(here / "a~b")
    assert absolute("./~") == str(here / "~")
    assert str(expanded("~no-such-user/a")) == "~no-such-user/a"


def test_the_same_place(here):
    (here / "link").symlink_to(here / "photos")
    assert same_place("photos", str(here / "photos")) and same_place("link", "photos")
    assert same_place("/gone/photos", "photos")  # moved
    assert not same_place("/gone/others", "photos") and not same_place("w.h5", "photos")
