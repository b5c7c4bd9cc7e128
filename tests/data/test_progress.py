"""A progress bar suits what it is written to."""

import pytest
from pseudo_terminal import terminal

from data.progress import map_images, progress


@pytest.fixture
def clock(monkeypatch):
    """Sets the time that bars read, in seconds."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def set_time(seconds: float) -> None:
        now[0] = 1000.0 + seconds

    return set_time


def test_on_a_terminal_one_line_is_drawn_again_and_again(clock):
    with terminal() as shown, progress(4, "reading") as bar:
        clock(1)
        bar.update()
        clock(2)
        bar.update(3)
    assert shown[0].endswith("\r\n")
    states = shown[0].strip().split("\r")
    assert [state[:13] for state in states] == [
        "reading:   0%",
        "reading:  25%",
        "reading: 100%",
        "reading: 100%",
    ]
    assert {len(state) for state in states} == {79}, "a terminal without a size has 80 columns"


def test_a_log_file_has_a_line_every_20_seconds_and_one_at_the_end(capsys, clock):
    with progress(100, "reading") as bar:
        for second in range(1, 51):
            clock(second)
            bar.update(2)
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert [line.partition("|")[0] for line in printed.splitlines()] == [
        "reading:  40%",
        "reading:  80%",
        "reading: 100%",
    ]


def test_quick_work_shows_nothing_before_its_delay():
    with terminal() as shown:
        assert list(map_images(str, [3, 4], "hashing", delay=60)) == ["3", "4"]
    assert shown == [""]


def test_quick_work_logs_nothing_before_its_delay(capsys):
    assert list(map_images(str, [3, 4], "hashing", delay=60)) == ["3", "4"]
    assert capsys.readouterr().err == ""
