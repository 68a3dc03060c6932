"""Pictures beside x265 at equal bits: original, bundle, x265 medium.

    python tools/side_by_side.py -i CLIP -i CLIP -o docs/results/side_by_side

Every bundle codes the first frames of every clip at one quality; x265 (preset medium, default
structure) codes the same frames with the constant rate factor whose file is nearest in size. Of one
frame the same crop is shown of all three, without scaling. Writes OUT.json, OUT.md and
OUT-BUNDLE-CLIP.webp, the picture nearest to lossless that stays below --limit.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine_facts
from PIL import Image, ImageDraw, ImageFont
from rate_distortion import Point, reference_codec, reference_point
from report_files import clips_parser, run_report

from nvc_engines import Engine, open_engine
from nvc_errors import UsageError
from nvc_runtime.bundle import Bundle, known_bundles, open_bundle
from nvc_runtime.codec import EncodedFrame, Encoder, EncoderSettings
from nvc_runtime.codec.samples import psnr_db
from nvc_runtime.video import Frame, open_reader

X265 = reference_codec("x265 medium")
CRF_LOW, CRF_HIGH, CRF_STEP = 5.0, 51.0, 0.1
SIZE_TOLERANCE = 0.01
"""A file this near in size is near enough; the search ends there."""
STRIP, GAP = 22, 4
"""Pixels of the caption above a picture, and between pictures."""
WEBP_QUALITIES = (95, 90, 85, 80, 70, 60)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    return run_report("side_by_side", options, compare, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add("--bundle", action="append", help="may be repeated; default: all that are shipped")
    add("--engine", default="ort:cpu", help="default: %(default)s")
    add("--quality", type=int, default=32, help="of the bundles; default: %(default)s")
    add("--frames", type=int, default=16, help="of every clip, one GOP; default: %(default)s")
    add("--shown", type=int, default=12, help="number of the frame shown; default: %(default)s")
    add("--size", default="256x192", help="of the crop; default: %(default)s")
    add("--place", default="0.5,0.5", help="of the crop's centre, 0 to 1; default: %(default)s")
    add("--limit", type=int, default=140_000, help="bytes of a picture; default: %(default)s")
    return parser


@dataclass
class Shown:
    """What one codec made of a clip: rate, quality, and the frame that is shown."""

    point: Point
    frame: Frame
    source: Frame


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Code every clip with every bundle and x265, and write the pictures."""
    if not 0 <= options.shown < options.frames:
        raise UsageError(f"--shown is {options.shown}, expected 0 to {options.frames - 1}")
    try:
        width, height = (int(part) for part in options.size.split("x"))
        across, down = (float(part) for part in options.place.split(","))
    except ValueError as error:
        raise UsageError(f"--size is like 256x192, --place like 0.5,0.5; {error}") from error
    names = options.bundle or sorted(path.name.removesuffix(".nvcb") for path in known_bundles())
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with open_engine(options.engine) as engine:
        for bundle in (open_bundle(name) for name in names):
            for clip in options.clip:
                ours = code_with_bundle(bundle, engine, clip, options)
                theirs = _search(clip, ours.point.size_bytes, options)
                crop = crop_slices(ours.source.shape, (height, width), (down, across))
                name = f"{options.output.name}-{bundle.name}-{clip.stem}.webp"
                data = picture_within(
                    [
                        (ours.source[crop], "original"),
                        (ours.frame[crop], caption(bundle.name, ours)),
                        (theirs.frame[crop], caption(X265.name, theirs)),
                    ],
                    options.limit,
                )
                options.output.with_name(name).write_bytes(data)
                rows.append(_row(bundle, clip, name, ours, theirs))
    return {
        "format": "nvc-side-by-side 1",
        "machine": machine_facts(),
        "quality": options.quality,
        "frames": options.frames,
        "shown": options.shown,
        "size": [width, height],
        "place": [across, down],
        "pictures": rows,
    }


def code_with_bundle(
    bundle: Bundle, engine: Engine, clip: Path, options: argparse.Namespace
) -> Shown:
    """Encode to a file; what the encoder reconstructs is what every decoder shows."""
    kept: list[EncodedFrame] = []

    def keep(coded: EncodedFrame) -> None:
        if coded.number == options.shown:
            kept.append(coded)

    settings = EncoderSettings(
        quality=options.quality, keyint=options.frames, scene_cuts=False, repeats=False
    )
    with tempfile.TemporaryFile() as file, open_reader(clip, limit=options.frames) as reader:
        report = Encoder(bundle, engine, settings).encode(reader, reader.info, file, on_frame=keep)
    if report.frames != options.frames:
        raise UsageError(f"{clip}: has {report.frames} frames, expected {options.frames}")
    point = Point(
        float(options.quality), report.size_bytes, report.bits_per_pixel, report.psnr_rgb_db
    )
    return Shown(point, kept[0].rgb, _frame(clip, options.shown))


def _frame(path: Path, number: int) -> Frame:
    """Decode one frame, uint8 (H, W, 3)."""
    with open_reader(path, limit=number + 1) as reader:
        *_, frame = reader
    return frame


def _search(clip: Path, size_bytes: int, options: argparse.Namespace) -> Shown:
    """Return x265's result that is nearest in size."""
    frames: dict[float, Frame] = {}

    def point_at(crf: float) -> Point:
        def keep(path: Path) -> None:
            frames[crf] = _frame(path, options.shown)

        return reference_point(
            X265,
            clip,
            crf,
            keyint=options.frames,
            frames=options.frames,
            with_ms_ssim=False,
            on_stream=keep,
        )

    point = nearest_in_size(point_at, size_bytes)
    print(f"{clip.stem}: {size_bytes} bytes, x265 {point.size_bytes}", file=sys.stderr)
    return Shown(point, frames[point.setting], _frame(clip, options.shown))


def nearest_in_size(point_at: Callable[[float], Point], size_bytes: int) -> Point:
    """Bisect rate factors, tenths from 5 to 51; sizes fall with them. Return the nearest point."""
    low, high = round(CRF_LOW / CRF_STEP), round(CRF_HIGH / CRF_STEP)
    found: list[Point] = []
    while low <= high:
        middle = (low + high) // 2
        point = point_at(middle * CRF_STEP)
        found.append(point)
        if abs(point.size_bytes / size_bytes - 1) <= SIZE_TOLERANCE:
            break
        if point.size_bytes > size_bytes:
            low = middle + 1
        else:
            high = middle - 1
    return min(found, key=lambda point: abs(point.size_bytes - size_bytes))


def crop_slices(
    shape: tuple[int, ...], size: tuple[int, int], place: tuple[float, float]
) -> tuple[slice, slice]:
    """Return rows and columns of a crop about a centre, moved to lie within the frame."""
    slices = []
    for whole, part, centre in zip(shape[:2], size, place, strict=True):
        part = min(part, whole)
        start = min(max(round(centre * whole - part / 2), 0), whole - part)
        slices.append(slice(start, start + part))
    return slices[0], slices[1]


def caption(name: str, shown: Shown) -> str:
    """Return a codec's rate over the clip, and quality of the frame shown."""
    quality = psnr_db(shown.frame, shown.source)
    return f"{name}: {shown.point.bits_per_pixel:.3f} bpp, {quality:.1f} dB"


def picture_within(parts: Sequence[tuple[Frame, str]], limit: int) -> bytes:
    """Return a WebP of crops side by side below captions: lossless if it is below the limit.

    Raises :class:`UsageError` if no quality is.
    """
    height, width = parts[0][0].shape[:2]
    whole = Image.new("RGB", (len(parts) * (width + GAP) - GAP, height + STRIP), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for place, (crop, words) in enumerate(parts):
        left = place * (width + GAP)
        whole.paste(Image.fromarray(np.ascontiguousarray(crop)), (left, STRIP))
        draw.text((left + 2, 3), words, fill="black", font=font)
    lossless: dict[str, Any] = {"lossless": True, "quality": 100}
    for how in (lossless, *({"quality": quality} for quality in WEBP_QUALITIES)):
        buffer = io.BytesIO()
        whole.save(buffer, format="webp", method=6, **how)
        if buffer.tell() < limit:
            return buffer.getvalue()
    raise UsageError(f"no picture below {limit} bytes; choose a smaller --size")


def _row(bundle: Bundle, clip: Path, name: str, ours: Shown, theirs: Shown) -> dict[str, Any]:
    return {
        "picture": name,
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "clip": clip.name,
        "ours": ours.point.to_json() | {"shown_psnr_rgb_db": psnr_db(ours.frame, ours.source)},
        "x265": theirs.point.to_json()
        | {"shown_psnr_rgb_db": psnr_db(theirs.frame, theirs.source)},
    }


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return the pictures and their figures."""
    width, height = result["size"]
    lines = [
        "# Beside x265 at equal bits",
        "",
        f"Frame {result['shown']} of {result['frames']} (one GOP), a crop of {width}x{height} "
        f"without scaling: original, the bundle at quality {result['quality']}, and x265 medium "
        "with the constant rate factor whose file is nearest in size.",
        "",
        "| bundle | clip | bytes | x265: bytes, CRF | PSNR of all frames (dB) | x265 (dB) |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["pictures"]:
        ours, theirs = row["ours"], row["x265"]
        lines.append(
            f"| {row['bundle']['name']} | {row['clip']} | {ours['size_bytes']} "
            f"| {theirs['size_bytes']}, {theirs['setting']:.1f} "
            f"| {ours['psnr_rgb_db']:.2f} | {theirs['psnr_rgb_db']:.2f} |"
        )
    for row in result["pictures"]:
        title = f"{row['bundle']['name']}, {row['clip']}"
        lines += ["", f"![{title}]({row['picture']})"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
