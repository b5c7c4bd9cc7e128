"""`python predict.py RUN IMAGE...`: classes of new images."""

import csv
import io
from pathlib import Path

import pytest


@pytest.fixture
def run(train_once):
    return train_once("trainer.epochs=30")[1]


def test_classes_are_sorted_by_probability(run, command, tmp_path, draw_images):
    [image] = draw_images(tmp_path / "new", 1, (201, 60, 40))
    lines = command("predict.py", run, image).output.splitlines()
    assert lines[0] == str(image)
    assert lines[1].split()[1] == "red" and len(lines) == 4
    probabilities = [float(line.split("%")[0]) for line in lines[1:]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(100, abs=0.1)


def test_csv_of_a_whole_folder(run, command, own_folder):
    outcome = command("predict.py", run, own_folder, "--csv", "--top", "1")
    lines = list(csv.DictReader(io.StringIO(outcome.output)))
    assert len(lines) == 30 and list(lines[0]) == ["picture", "rank", "class", "probability"]
    assert all(line["class"] in line["picture"] for line in lines)


def test_an_undecodable_image_is_reported_and_the_others_are_predicted(
    run, command, tmp_path, draw_images
):
    [good] = draw_images(tmp_path / "good", 1, (40, 60, 201))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    outcome = command("predict.py", run, bad, good)
    assert outcome.status != 0
    assert "bad.png cannot be decoded" in outcome.errors
    assert str(good) in outcome.output and "blue" in outcome.output


def test_mistakes_are_reported_in_one_line(run, command, tmp_path):
    assert "no such file" in command("predict.py", run, tmp_path / "nowhere.png").error
    (tmp_path / "empty").mkdir()
    assert "no images" in command("predict.py", run, tmp_path / "empty").error
    assert "--top 0" in command("predict.py", run, tmp_path, "--top", "0").error
    assert "not a run's folder" in command("predict.py", tmp_path, tmp_path).error
    assert "only --explain" in command("predict.py", tmp_path, tmp_path, "data.path=x").error
    assert "no images" in command("predict.py", tmp_path, "data.path=x", "--explain").error
    assert "no images; give files or folders after RUN" in command("predict.py", run).error


def test_an_explanation_of_each_image(run, command, tmp_path, draw_images):
    [image] = draw_images(tmp_path / "new", 1, (201, 60, 40))
    plain = command("predict.py", run, image, "--top", "2").output
    outcome = command("predict.py", run, image, "--top", "2", "--explain")
    assert outcome.status == 0, outcome.errors
    assert outcome.output.startswith(plain)
    nearest, confusion, file = outcome.output.splitlines()[3:]
    assert nearest.startswith("  nearest training images: red 0.") and nearest.count("(red/") == 5
    assert confusion.startswith("  test images predicted as red: ")
    path = Path(file.removeprefix("  explanation: "))
    assert path.is_file() and path.parent == run / "explanations"
    assert outcome.errors.splitlines()[-1] == f"written: {path.parent / 'explanations.csv'}"


@pytest.mark.slow
def test_the_folder_of_explanations_and_moved_data(run, command, tmp_path, own_folder):
    own_folder.rename(tmp_path / "moved")
    images = tmp_path / "moved" / "red"
    data, output = f"data.path={tmp_path / 'moved'}", tmp_path / "out"
    outcome = command("predict.py", run, images, data, "--csv", "--explain", output)
    assert outcome.status == 0, outcome.errors
    assert outcome.output == command("predict.py", run, images, "--csv").output
    assert outcome.errors.splitlines()[-1] == f"written: {output / 'explanations.csv'}"
    assert len(list(output.glob("*.png"))) == 10
    with (output / "explanations.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 10 and all(line["nearest_1_class"] == "red" for line in lines)


def test_an_image_after_the_option_is_not_taken_for_a_folder(run, command, tmp_path, draw_images):
    first, second = draw_images(tmp_path / "new", 2)
    outcome = command("predict.py", run, "--explain", first, second)
    assert "is a file; put --explain after the images" in outcome.error
    for arguments in ([run, "--explain", first], ["--explain", run, first]):
        outcome = command("predict.py", *arguments)
        assert outcome.status == 2
        assert "--explain goes last, after the images" in outcome.error


def test_a_folder_of_images_after_the_option_stays_as_it_is(run, command, own_folder):
    before = {path: path.read_bytes() for path in own_folder.glob("*/*")}
    outcome = command("predict.py", run, "--explain", own_folder / "red", own_folder / "blue")
    assert "put --explain after the images" in outcome.error
    assert {path: path.read_bytes() for path in own_folder.glob("*/*")} == before
