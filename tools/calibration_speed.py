"""How much time calibration takes, in the encoder and in the decoder.

    python tools/calibration_speed.py -i CLIP --frames 6 -o out/calibration_speed

Decodes a clip without calibration, keeps the scale indices of the inter frames, and resolves them
to levels without side information and with retrieval at several epsilons. All times are CPU time
of this process, so that other work on the machine counts little; they are wall-clock time for an
engine with one thread. Writes OUT.json and OUT.md. 1280x720 frames are padded to 1280x768, the
size the paper reports. Exit code 4 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import spread_of
from calibration_cost import Indices
from machine import machine_facts
from numpy.typing import NDArray
from platform_trials.scene import Scene, load_scene
from report_files import refuse_problems, run_tool, write_report

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_errors import VerificationError
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings, open_bundle
from nvc_runtime.codec.symbols import CodingRules as Rules

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
    add("--engine", default="ort:cpu,threads=1", help="default: %(default)s")
    add("--size", type=int, nargs=2, default=[1280, 720], help="cut from the middle")
    add("--frames", type=int, default=6)
    add("--repeats", type=int, default=3, help="runs (default: 3)")
    add("--quality", type=int, help="quality index (default: the bundle's)")
    options = parser.parse_args(arguments)

    def work() -> int:
        clip = None if options.clip is None else str(options.clip)
        scene = load_scene("clip", clip, tuple(options.size), options.frames)
        bundle = open_bundle(options.bundle)
        with open_engine(options.engine) as engine:
            record = measure(bundle, engine, scene, options.quality, options.repeats)
        write_report(options.output, record, markdown(record))
        refuse_problems(record["problems"])
        return 0

    return run_tool("calibration_speed", work)


def measure(
    bundle: Bundle, engine: Engine, scene: Scene, quality: int | None, repeats: int
) -> dict[str, Any]:
    """Time a decoder without calibration, then the two sides of calibration."""
    file = io.BytesIO()
    settings = EncoderSettings(
        quality=quality, keyint=0, calibration=PositionCoder.NONE, scene_cuts=False, repeats=False
    )
    encoder = Encoder(bundle, engine, settings)
    encoder.encode(scene.frames, scene.info, file)
    tap = Indices()
    for _ in Decoder(io.BytesIO(file.getvalue()), engine, bundle=bundle, tap=tap):
        pass
    inter = [tensors for number, tensors in tap.frames.items() if number]
    times = [
        ms
        for _ in range(repeats)
        for ms in _decode_ms(Decoder(io.BytesIO(file.getvalue()), engine, bundle=bundle))
    ]
    decode_ms = spread_of(times)
    levels = bundle.manifest.scale_levels.count
    plain = Rules(levels, encoder.skip_level, 0.0, PositionCoder.NONE)
    bare = _resolve(inter, plain, repeats)
    rows = []
    for epsilon in EPSILONS:
        rules = Rules(levels, encoder.skip_level, epsilon, PositionCoder.RETRIEVAL)
        row = {"epsilon": epsilon} | _resolve(inter, rules, repeats)
        added = row["decode_ms"]["median"] - bare["decode_ms"]["median"]
        row["added_ms"] = round(added, 4)
        row["added_share"] = round(added / decode_ms.median, 6)
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
        "elements_per_inter_frame": sum(tensor.size for tensor in inter[0]),
        "quality": encoder.quality,
        "skip_level": encoder.skip_level,
        "repeats": repeats,
        "frame_decode_ms": decode_ms.to_json(),
        "without_calibration": bare,
        "rows": rows,
        "problems": _problems(rows),
    }


def _decode_ms(decoder: Decoder) -> Iterator[float]:
    """Yield the CPU milliseconds of each inter frame but the first, which still loads graphs."""
    start = time.process_time()
    for frame in decoder:
        now = time.process_time()
        if frame.number > 1:
            yield 1000 * (now - start)
        start = time.process_time()


def _resolve(
    frames: Sequence[Sequence[NDArray[np.float32]]], rules: Rules, repeats: int
) -> dict[str, Any]:
    """Resolve the indices of every frame on both sides; CPU milliseconds a frame."""
    encoding, decoding, size = [], [], 0
    for _ in range(repeats):
        for tensors in frames:
            start = time.process_time()
            encoder = rules.level_encoder()
            encoded = [encoder.encode(tensor) for tensor in tensors]
            side = encoder.finish()
            middle = time.process_time()
            decoder = rules.level_decoder(side, sum(tensor.size for tensor in tensors))
            decoded = [decoder.decode(tensor) for tensor in tensors]
            decoding.append(1000 * (time.process_time() - middle))
            encoding.append(1000 * (middle - start))
            size += len(side)
            if not all(map(np.array_equal, decoded, encoded)):
                raise VerificationError("the decoder found other levels")
    return {
        "bits_per_frame": 8 * size / (repeats * len(frames)),
        "encode_ms": spread_of(encoding).to_json(),
        "decode_ms": spread_of(decoding).to_json(),
    }


def _problems(rows: Sequence[dict[str, Any]]) -> list[str]:
    problems = []
    for row in rows:
        epsilon = row["epsilon"]
        for side in ("encode", "decode"):
            spent = row[f"{side}_ms"]["median"]
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
        f"{record['elements_per_inter_frame']} latent elements in an inter frame, quality "
        f"{record['quality']}, skip level {record['skip_level']}; {record['engine']['spec']}. CPU "
        f"time of one core, medians over the inter frames of {record['repeats']} runs. Without "
        f"calibration a frame decodes in {record['frame_decode_ms']['median']:.0f} ms, of which "
        f"levels take {bare['decode_ms']['median']:.2f} ms.",
        "",
        "| epsilon | bits a frame | encoder, ms a frame | decoder, ms a frame | added "
        "| added share of decoding |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {row['epsilon']:g} | {row['bits_per_frame']:.0f} "
        f"| {row['encode_ms']['median']:.2f} | {row['decode_ms']['median']:.2f} "
        f"| {row['added_ms']:.2f} ms | {100 * row['added_share']:.2f} % |"
        for row in record["rows"]
    ]
    return "\n".join([*lines, "", *(f"- {problem}" for problem in record["problems"])]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
