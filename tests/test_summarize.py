"""`summarize.py`: the table of finished runs."""

from pathlib import Path

import pytest
from made_runs import finished_run, made_sweep

import summarize
from errors import UserError


@pytest.fixture
def sweep(tmp_path):
    return made_sweep(tmp_path / "sweep")


def test_it_prints_the_table_and_the_failures(sweep, capsys):
    summarize.main([str(sweep)])
    printed = capsys.readouterr().out
    assert "bilinear *" in printed and "failed: " in printed and "no such layer" in printed


def test_it_takes_a_baseline_and_an_output_folder(sweep, tmp_path, capsys):
    summarize.main([str(sweep), "--baseline", "head=bilinear", "--output", str(tmp_path / "out")])
    assert "-0.5500 [" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "summary.csv",
        "summary.md",
        "summary.png",
    }


@pytest.mark.parametrize(
    "baseline",
    [
        "optimizer.learning_rate=1",
        "optimizer.learning_rate=1e0,data.path='a, head=b'",
        'data.path="a, head=b", optimizer.learning_rate=1.0',
    ],
)
def test_the_values_of_a_baseline_are_read_as_in_train(tmp_path, capsys, baseline):
    finished_run(tmp_path / "0", 0.5)
    finished_run(tmp_path / "1", 0.7, optimizer__learning_rate=1.0, data__path="a, head=b")
    summarize.main([str(tmp_path), "--baseline", baseline])
    path = Path("a, head=b").absolute()  # relative paths are those of older runs
    assert f"test - {path}, 1.0, 95%" in capsys.readouterr().out


def test_a_folder_without_runs_or_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no finished run in or below.*has metrics\.json"):
        summarize.main([str(tmp_path)])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        summarize.main([str(tmp_path / "nowhere")])


def test_as_a_command_it_exits_with_one_line_for_a_mistake(command, sweep, tmp_path):
    assert "bilinear *" in command("summarize.py", sweep).output
    outcome = command("summarize.py", tmp_path / "nowhere")
    assert outcome.status == 2 and "no such folder" in outcome.error
