"""Between options and the library's types: settings in, JSON records and texts out."""

from __future__ import annotations

from typing import Any

from nvc_calib import PositionCoder
from nvc_engines import EngineInfo
from nvc_runtime import Encoder, EncoderSettings
from nvc_runtime.cli.options import Calibration, Exact
from nvc_runtime.stream import ExactMode


def encoder_settings(
    *,
    quality: int | None,
    intra_offset: int | None,
    keyint: int | None,
    scene_cuts: bool,
    repeats: bool,
    skip_level: int | None,
    epsilon: float | None,
    pixel_epsilon: float | None,
    calibration: Calibration,
    exact: Exact,
    sync: int,
) -> EncoderSettings:
    """Return the settings that the options say."""
    return EncoderSettings(
        quality=quality,
        intra_offset=intra_offset,
        keyint=keyint,
        scene_cuts=scene_cuts,
        repeats=repeats,
        skip_level=skip_level,
        epsilon=epsilon,
        pixel_epsilon=pixel_epsilon,
        calibration=PositionCoder(calibration.value),
        exact=ExactMode(exact.value),
        sync=sync,
    )


def record_of_encoder(encoder: Encoder) -> dict[str, Any]:
    """Return an encoder's bundle, engine and settings as plain data."""
    return {
        "bundle": {"name": encoder.bundle.name, "digest": encoder.bundle.digest.hex()},
        "engine": record_of_engine(encoder.engine.info),
        "settings": {
            "quality": encoder.quality,
            "intra_offset": encoder.intra_offset,
            "keyint": encoder.keyint,
            "scene_cuts": encoder.settings.scene_cuts,
            "repeats": encoder.settings.repeats,
            "skip_level": encoder.skip_level,
            "calibration": encoder.settings.calibration.value,
            "epsilon": encoder.epsilon,
            "exact": encoder.settings.exact.value,
            "pixel_epsilon": encoder.pixel_epsilon,
            "sync": encoder.settings.sync,
        },
    }


def record_of_engine(info: EngineInfo) -> dict[str, Any]:
    """Return what an engine is as plain data."""
    return {
        "name": str(info.spec),
        "version": info.backend_version,
        "device": info.device_name,
        "precision": info.precision,
        "flags": dict(info.flags),
        "threads": info.threads,
    }
