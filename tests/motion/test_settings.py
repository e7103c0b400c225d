"""Settings are the same, however they were given."""

from __future__ import annotations

from ankleseg.config import build, compose
from ankleseg.motion import MotionSettings
from ankleseg.motion.plain import plain_settings


def test_the_command_line_and_python_give_the_same_settings() -> None:
    told = build(compose("prepare", ["recipe=ankle_dynamic", "cohort.root=in", "out=out"]).motion)
    assert repr(told) != repr(MotionSettings()), "they are not given alike"
    assert plain_settings(told) == plain_settings(MotionSettings())


def test_another_setting_is_another() -> None:
    assert plain_settings(MotionSettings(order=1)) != plain_settings(MotionSettings(order=2))
    assert plain_settings(MotionSettings(highres=False)) != plain_settings(MotionSettings())
