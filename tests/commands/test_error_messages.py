"""Messages for keys that an earlier version had."""

import pytest

RENAMED = "error: trainer.descriptor_gib: is called trainer.stage_1_gib now"


@pytest.mark.parametrize(
    "arguments",
    [
        ["trainer.descriptor_gib=4"],
        ["+trainer.descriptor_gib=4"],
        ["-m", "trainer.descriptor_gib=4,8"],
    ],
)
def test_a_renamed_key_is_one_line_with_its_new_name(command, arguments):
    outcome = command("train.py", *arguments)
    assert outcome.status == 2 and outcome.error == RENAMED


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_evaluated(train_once, command):
    _, folder = train_once()
    path = folder / "config.yaml"
    text = path.read_text().replace("stage_1_gib: 2.0", "descriptor_gib: 4.0")
    assert "descriptor_gib" in text
    path.write_text(text)
    outcome = command("evaluate.py", folder)
    assert outcome.status == 0 and "descriptor_gib" not in outcome.output + outcome.errors
    assert path.read_text() == text
