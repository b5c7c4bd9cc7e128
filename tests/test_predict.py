"""`python predict.py RUN PICTURE...`: names for new pictures."""

import csv
import io

import pytest


@pytest.fixture
def run(train_once):
    return train_once("trainer.epochs=30")[1]


def test_the_best_classes_come_first(run, command, tmp_path, draw_pictures):
    [picture] = draw_pictures(tmp_path / "new", 1, (201, 60, 40))
    lines = command("predict.py", run, picture).output.splitlines()
    assert lines[0] == str(picture)
    assert lines[1].split()[1] == "red" and len(lines) == 4
    shares = [float(line.split("%")[0]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.1)


def test_csv_of_a_whole_folder(run, command, own_folder):
    outcome = command("predict.py", run, own_folder, "--csv", "--top", "1")
    rows = list(csv.DictReader(io.StringIO(outcome.output)))
    assert len(rows) == 30 and set(rows[0]) == {"picture", "rank", "class", "probability"}
    assert all(row["class"] in row["picture"] for row in rows)


def test_an_undecodable_picture_is_reported_the_others_named(run, command, tmp_path, draw_pictures):
    [good] = draw_pictures(tmp_path / "good", 1, (40, 60, 201))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    outcome = command("predict.py", run, bad, good)
    assert outcome.status != 0
    assert "bad.png cannot be decoded" in outcome.errors
    assert str(good) in outcome.output and "blue" in outcome.output


def test_mistakes_are_one_line(run, command, tmp_path):
    assert "no such file" in command("predict.py", run, tmp_path / "nowhere.png").error
    (tmp_path / "empty").mkdir()
    assert "no pictures" in command("predict.py", run, tmp_path / "empty").error
    assert "--top 0" in command("predict.py", run, tmp_path, "--top", "0").error
    assert "not a run's folder" in command("predict.py", tmp_path, tmp_path).error
