"""How much time calibration takes, in the encoder and in the decoder.

    python tools/calibration_speed.py -i CLIP --frames 6 -o docs/results/calibration_speed

Encodes and decodes a clip at several epsilons, and without calibration, and sums up the inter
frames: milliseconds in which levels are resolved, and the share of decoding that calibration adds
to what plain levels take. Writes OUT.json and OUT.md. 1280x720 frames are padded to 1280x768, the
size the paper reports. Exit code 4 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import spread_of
from machine import machine_facts
from platform_trials.scene import Scene, load_scene

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_errors import NvcError, VerificationError
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings, open_bundle

EPSILONS = (1e-4, 5e-4, 1e-3, 1e-2)
MAX_MS = {1e-2: 50.0}
"""Epsilon -> the most milliseconds a frame that calibration may take, on either side."""
MAX_SHARE = {1e-4: 0.05}
"""Epsilon -> the largest share of decoding that calibration may add."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("-i", "--clip", type=Path, help="video file; without one, pictures are made up")
    add("-o", "--output", type=Path, default=Path("calibration_speed"), help="without suffix")
    add("--bundle", help="name or path of the bundle (default: the shipped one)")
    add("--engine", default="ort:cpu", help="default: %(default)s")
    add("--size", type=int, nargs=2, default=[1280, 720], help="cut from the middle")
    add("--frames", type=int, default=6)
    add("--repeats", type=int, default=3, help="decoding runs (default: 3)")
    add("--quality", type=int, help="quality index (default: the bundle's)")
    options = parser.parse_args(arguments)
    try:
        clip = None if options.clip is None else str(options.clip)
        scene = load_scene("clip", clip, tuple(options.size), options.frames)
        bundle = open_bundle(options.bundle)
        with open_engine(options.engine) as engine:
            record = measure(bundle, engine, scene, options.quality, options.repeats)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        options.output.with_suffix(".md").write_text(markdown(record))
        if record["problems"]:
            raise VerificationError("; ".join(record["problems"]))
    except NvcError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(
    bundle: Bundle, engine: Engine, scene: Scene, quality: int | None, repeats: int
) -> dict[str, Any]:
    """Time every epsilon; each stream has the same symbols."""
    plain = EncoderSettings(quality=quality, keyint=0, calibration=PositionCoder.NONE)
    bare = _row(bundle, engine, scene, plain, repeats)
    rows = []
    for epsilon in EPSILONS:
        settings = EncoderSettings(quality=quality, keyint=0, epsilon=epsilon)
        row = {"epsilon": epsilon} | _row(bundle, engine, scene, settings, repeats)
        added = row["decode_calibration_ms"]["median"] - bare["decode_calibration_ms"]["median"]
        row["added_ms"] = round(added, 4)
        row["added_share"] = round(added / bare["decode_ms"]["median"], 6)
        rows.append(row)
    return {
        "machine": machine_facts(),
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "engine": {"spec": str(engine.info.spec), "threads": engine.info.threads},
        "clip": scene.source,
        "width": scene.info.width,
        "height": scene.info.height,
        "padded": list(bundle.manifest.padded(scene.info.height, scene.info.width)),
        "frames": len(scene.frames),
        "repeats": repeats,
        "without_calibration": bare,
        "rows": rows,
        "problems": _problems(rows),
    }


def _row(
    bundle: Bundle, engine: Engine, scene: Scene, settings: EncoderSettings, repeats: int
) -> dict[str, Any]:
    """Encode once, decode several times; the decoder's figures are those of the inter frames."""
    file = io.BytesIO()
    report = Encoder(bundle, engine, settings).encode(scene.frames, scene.info, file)
    decode_ms, calibration_ms = [], []
    for _ in range(repeats):
        decoder = Decoder(io.BytesIO(file.getvalue()), engine, bundle=bundle)
        start, before = time.perf_counter(), 0.0
        for frame in decoder:
            now, spent = time.perf_counter(), decoder.elapsed.calibration_s
            # The first inter frame still loads graphs.
            if frame.number > 1:
                decode_ms.append(1000 * (now - start))
                calibration_ms.append(1000 * (spent - before))
            start, before = now, spent
    return {
        "calibration_bits_per_frame": report.bits["calibration"] / report.frames,
        "decode_ms": spread_of(decode_ms).to_json(),
        "decode_calibration_ms": spread_of(calibration_ms).to_json(),
        "encode_calibration_ms": round(1000 * report.elapsed.calibration_s / report.frames, 4),
    }


def _problems(rows: Sequence[dict[str, Any]]) -> list[str]:
    problems = []
    for row in rows:
        epsilon = row["epsilon"]
        times = {
            "decode": row["decode_calibration_ms"]["median"],
            "encode": row["encode_calibration_ms"],
        }
        for side, spent in times.items():
            if spent > MAX_MS.get(epsilon, spent):
                problems.append(
                    f"epsilon {epsilon:g}: {spent:.1f} ms a frame to {side}, expected "
                    f"{MAX_MS[epsilon]:g} at most"
                )
        if row["added_share"] > MAX_SHARE.get(epsilon, 1.0):
            problems.append(
                f"epsilon {epsilon:g}: {100 * row['added_share']:.1f} % of decoding, expected "
                f"{100 * MAX_SHARE[epsilon]:g} % at most"
            )
    return problems


def markdown(record: dict[str, Any]) -> str:
    """Tabulate the epsilons."""
    height, width = record["padded"]
    bare = record["without_calibration"]
    lines = [
        "# Time for calibration",
        "",
        f"{record['clip']}, {record['width']}x{record['height']} padded to {width}x{height}, "
        f"{record['engine']['spec']}, {record['engine']['threads']} threads. The decoder's figures "
        f"are medians over the inter frames of {record['repeats']} runs, the encoder's means over "
        "one run. Without calibration a frame decodes in "
        f"{bare['decode_ms']['median']:.1f} ms, of which levels take "
        f"{bare['decode_calibration_ms']['median']:.2f} ms.",
        "",
        "| epsilon | bits a frame | encoder, ms a frame | decoder, ms a frame | added "
        "| added share of decoding |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {row['epsilon']:g} | {row['calibration_bits_per_frame']:.0f} "
        f"| {row['encode_calibration_ms']:.2f} "
        f"| {row['decode_calibration_ms']['median']:.2f} | {row['added_ms']:.2f} ms "
        f"| {100 * row['added_share']:.2f} % |"
        for row in record["rows"]
    ]
    return "\n".join([*lines, "", *(f"- {problem}" for problem in record["problems"])]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
