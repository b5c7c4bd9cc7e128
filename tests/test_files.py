"""Files that are whole or absent."""

import pytest

from files import atomic_path, write_text


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_the_one_before(tmp_path):
    for text in ("first", "second"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text
    assert names(tmp_path) == ["a.txt"]


def test_until_it_is_whole_there_is_the_one_before(tmp_path):
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "first" and names(tmp_path) == ["a.txt"]


def test_a_folder_is_whole_or_absent_too(tmp_path):
    with pytest.raises(ValueError, match="half"), atomic_path(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        raise ValueError("half")
    assert not names(tmp_path)
    with atomic_path(tmp_path / "model") as unfinished:
        unfinished.mkdir()
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("make", ["touch", "mkdir"])
def test_what_a_killed_process_left_is_removed(tmp_path, make):
    getattr(tmp_path / "unfinished-a.txt", make)()
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt"]


def test_an_ending_stays_what_it_is(tmp_path):
    with atomic_path(tmp_path / "head.weights.h5") as unfinished:
        assert unfinished.name.endswith(".weights.h5")
        unfinished.touch()
