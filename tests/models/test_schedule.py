"""Schedules: what is built in can be loaded, what is wrong is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvc_errors import UsageError
from nvc_models.families import family_from_preset
from nvc_models.training.schedule import Schedule, builtin_schedules, open_schedule
from nvc_models.training.stage import Stage

STAGE = """
[[stage]]
name = "one"
task = "intra"
steps = 3
batch = 2
frames = 1
crop = 64
learning_rate = 1e-3
"""


def load(folder: Path, text: str) -> Schedule:
    path = folder / "schedule.toml"
    path.write_text(text)
    return Schedule.load(path)


@pytest.mark.parametrize("name", sorted(builtin_schedules()))
def test_built_in_schedules_train_presets(name: str) -> None:
    schedule = open_schedule(name)
    assert schedule.preset in family_from_preset(schedule.preset).presets
    names = [stage.name for stage in schedule.stages]
    assert len(set(names)) == len(names)


def test_the_shipped_codec_has_a_schedule() -> None:
    assert "lite" in builtin_schedules()


def test_a_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    schedule = load(tmp_path, 'preset = "lite"\nseed = 5\n[defaults]\nema = 0.5\n' + STAGE)
    assert (schedule.preset, schedule.seed) == ("lite", 5)
    assert schedule.stages == (Stage("one", "intra", 3, 2, 1, 64, 1e-3, ema=0.5),)
    assert open_schedule(str(tmp_path / "schedule.toml")) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset = ", "no TOML"),
        ('preset = "lite"', "no \\[\\[stage\\]\\]"),
        (STAGE, "lacks the preset"),
        ('preset = "lite"\nseed = "x"\n' + STAGE, "whole number"),
        ('preset = "lite"\nspeed = 3\n' + STAGE, "speed"),
        ('preset = "lite"\n' + STAGE + "colour = 3\n", "colour"),
        ('preset = "lite"\n' + STAGE.replace("crop = 64\n", ""), "crop"),
        ('preset = "lite"\n' + STAGE.replace("crop = 64", "crop = 65"), "multiple of 64"),
        ('preset = "lite"\n' + STAGE.replace("steps = 3", "steps = 0"), "above 0"),
        ('preset = "lite"\n' + STAGE.replace("steps = 3", "steps = 1.5"), "above 0"),
        ('preset = "lite"\n' + STAGE.replace("= 1e-3", "= 0"), "learning_rate is 0, .* above 0"),
        ('preset = "lite"\n' + STAGE.replace("= 1e-3", '= "1e-3"'), "learning_rate is '1e-3'"),
        ('preset = "lite"\n' + STAGE.replace("= 1e-3", "= nan"), "learning_rate is nan"),
        ('preset = "lite"\n' + STAGE + "final_learning_rate = -1.0\n", "final_learning_rate is -1"),
        ('preset = "lite"\n' + STAGE + "clip_norm = 0\n", "clip_norm is 0, .* above 0"),
        ('preset = "lite"\n' + STAGE + "later_weight = -0.1\n", "later_weight .* 0 or more"),
        ('preset = "lite"\n' + STAGE + "intra_weight = -0.1\n", "intra_weight .* 0 or more"),
        ('preset = "lite"\n' + STAGE + "photo_share = 1.5\n", "photo_share is 1.5, .* 0 to 1"),
        ('preset = "heavy"\n' + STAGE, "unknown preset 'heavy'; known: full, lite, paper, swift-m"),
        ('preset = "swift-s"\n' + STAGE.replace('"intra"', '"flow"'), "unknown task"),
        ('preset = "lite"\n' + STAGE.replace('"intra"', '"dance"'), "unknown task"),
        ('preset = "lite"\n' + STAGE.replace('"intra"', '"joint"'), "at least 2 frames"),
        ('preset = "lite"\n' + STAGE + 'rounding = "soft"\n', "noise or hard"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, text)
    assert "schedule.toml" in str(caught.value)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="lite"):
        open_schedule("none")
