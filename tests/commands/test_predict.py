"""Predictions of a finished run's model for new images."""

import logging

import numpy as np
import pytest
from conftest import COLOURS

from commands import predict
from commands.predict import predict_images
from errors import UserError


def test_classes_are_sorted_by_probability(finished_run, tmp_path, draw_images):
    (image,) = draw_images(tmp_path, 1, COLOURS["green"])
    ((path, best, error),) = predict_images(finished_run, [image], top=3)
    assert path == image and error is None
    assert best[0][0] == "green" and {name for name, _ in best} == set(COLOURS)
    probabilities = [probability for _, probability in best]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (9, 3)])
def test_top_limits_the_number_of_classes(finished_run, image_folder_path, top, count):
    image = image_folder_path / "red" / "0.png"
    ((_, best, _),) = predict_images(finished_run, [image], top)
    assert len(best) == count


def test_folders_and_images_can_be_mixed_and_keep_their_order(
    finished_run, image_folder_path, monkeypatch
):
    monkeypatch.setattr(predict, "BATCH", 3)  # several batches, the last one smaller
    paths = [
        image_folder_path / "red" / "5.png",
        image_folder_path / "blue",
        image_folder_path / "green",
    ]
    predictions = list(predict_images(finished_run, paths, top=1))
    assert [path.relative_to(image_folder_path).as_posix() for path, _, _ in predictions] == [
        "red/5.png",
        *(f"blue/{i}.png" for i in range(8)),
        *(f"green/{i}.png" for i in range(8)),
    ]
    assert [best[0][0] for _, best, _ in predictions] == ["red"] + ["blue"] * 8 + ["green"] * 8


def test_a_damaged_image_is_reported_and_the_others_are_predicted(
    finished_run, tmp_path, draw_images
):
    paths = draw_images(tmp_path, 3, COLOURS["red"])
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    predictions = list(predict_images(finished_run, [tmp_path], top=1))
    assert [best[0][0] if best else None for _, best, _ in predictions] == ["red", None, "red"]
    assert f"{paths[1]} cannot be decoded" in predictions[1][2]


def test_only_damaged_images_are_no_crash(finished_run, tmp_path):
    (tmp_path / "0.png").write_bytes(b"not an image")
    ((_, best, error),) = predict_images(finished_run, [tmp_path], top=1)
    assert best == [] and "cannot be decoded" in error


def test_the_error_names_a_path_that_does_not_exist(finished_run, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such file or folder"):
        list(predict_images(finished_run, [tmp_path / "nowhere"], top=1))


def test_the_error_names_a_folder_without_images(finished_run, tmp_path):
    with pytest.raises(UserError, match="no images below this folder"):
        list(predict_images(finished_run, [tmp_path], top=1))


def test_the_error_names_a_folder_that_is_no_run(tmp_path, image_folder_path):
    with pytest.raises(UserError, match=r"not a run's folder, it has no config\.yaml"):
        list(predict_images(tmp_path, [image_folder_path], top=1))


def test_images_are_cropped_as_for_evaluation(finished_run, tmp_path):
    """The centre crop removes the part of the image that has another colour."""
    from PIL import Image

    pixels = np.broadcast_to(np.array(COLOURS["blue"], np.uint8), (60, 200, 3)).copy()
    pixels[:, 70:130] = COLOURS["red"]
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    ((_, best, _),) = predict_images(finished_run, [tmp_path], top=1)
    assert best[0][0] == "red"


@pytest.mark.parametrize(
    "name", ["x; y.png", "x (1; 2).png", "a  b.png", "is cannot be.png", "<x>.png"]
)
def test_any_name_of_a_damaged_image_is_reported_whole(finished_run, tmp_path, name):
    (tmp_path / name).write_bytes(b"not an image")
    ((_, _, error),) = predict_images(finished_run, [tmp_path], top=1)
    assert error == f"{tmp_path / name} cannot be decoded (cannot identify image file)"


def test_images_behind_links_are_predicted_and_a_broken_link_is_reported(
    finished_run, tmp_path, draw_images
):
    draw_images(tmp_path / "stored", 2, COLOURS["red"])
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "linked").symlink_to(tmp_path / "stored")
    (tmp_path / "new" / "gone.png").symlink_to(tmp_path / "gone.png")
    predictions = list(predict_images(finished_run, [tmp_path / "new"], top=1))
    assert [best[0][0] if best else None for _, best, _ in predictions] == ["red", "red", None]
    assert "new/gone.png cannot be read (No such file or directory)" in predictions[2][2]


def test_what_is_no_image_is_counted(finished_run, tmp_path, draw_images, caplog):
    draw_images(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("no image")
    with caplog.at_level(logging.INFO):
        assert len(list(predict_images(finished_run, [tmp_path], top=1))) == 2
    assert f"passed over: 1 not images (such as {tmp_path}/notes.txt)" in caplog.text
