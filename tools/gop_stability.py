"""Whether quality holds along a long group of pictures, and after a change of scene.

    python tools/gop_stability.py -i CLIP -i CLIP --scenes A B -o docs/results/gop_stability-swift-s

Codes the first frames of every clip twice, with an intra frame at the start only and with one every
--refresh frames. The late frame of a long group should be as good as the early one; where it is
not, the same frame soon after an intra frame tells whether the group or the picture is at fault,
and so does x265 (preset medium, zero latency, one intra frame, the CRF of --crf whose early frame
is nearest in PSNR).
Also measured on the late frame: the mean error of each colour, and steps at the edges of the
transform's blocks by those inside them, decoded and source. With --scenes, the two clips' first
frames follow each other. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine_facts
from numpy.typing import NDArray
from rate_distortion import reference_codec, reference_point
from report_files import add_numbers, clips_parser, run_report

from nvc_engines import Engine, open_engine
from nvc_errors import UsageError
from nvc_runtime.bundle import Bundle, open_bundle
from nvc_runtime.codec import EncodedFrame, Encoder, EncoderSettings
from nvc_runtime.codec.samples import psnr_db
from nvc_runtime.stream import FrameKind
from nvc_runtime.video import Frame, VideoInfo, open_reader

BLOCK = 8
LUMA = np.array([0.299, 0.587, 0.114])
REFERENCE = reference_codec("x265 zero latency")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    return run_report("gop_stability", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add("--bundle", help="name or path; default: the shipped one")
    add("--engine", default="ort:cpu", help="default: %(default)s")
    add("--quality", type=int, default=32, help="default: %(default)s")
    add("--early", type=int, default=8, help="frame of a group; default: %(default)s")
    add("--late", type=int, default=95, help="frame of a group; default: %(default)s")
    add("--refresh", type=int, default=32, help="keyint of the other run; default: %(default)s")
    add_numbers(parser, "--crf", [19, 22, 25, 28, 31])
    add("--scenes", type=Path, nargs=2, metavar=("A", "B"), help="clips of one size")
    add("--scene-frames", type=int, default=12, help="of each; default: %(default)s")
    return parser


@dataclass(frozen=True)
class LateFrame:
    """What is wrong with a frame besides its PSNR.

    ``mean_error``: decoded less source in 8-bit steps, R, G, B. ``edge_steps`` and
    ``source_edge_steps``: mean absolute difference of luma across block edges by that inside.
    """

    mean_error: list[float]
    edge_steps: float
    source_edge_steps: float


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all clips and the change of scene; return the content of the JSON file."""
    if not 0 <= options.early < options.late:
        raise UsageError(f"--early is {options.early}, expected 0 to {options.late - 1}")
    bundle = open_bundle(options.bundle)
    with open_engine(options.engine) as engine:
        clips = {clip.stem: _row(bundle, engine, clip, options) for clip in options.clip}
        scenes = _scenes(bundle, engine, options) if options.scenes else None
    return {
        "format": "nvc-gop-stability 1",
        "machine": machine_facts(),
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "quality": options.quality,
        "early": options.early,
        "late": options.late,
        "refresh": options.refresh,
        "clips": clips,
        "scenes": scenes,
    }


def _row(bundle: Bundle, engine: Engine, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Code one clip with a long and with short groups of pictures."""
    late: list[LateFrame] = []
    runs = {}
    for name, keyint in (("long", 0), ("short", options.refresh)):
        with open_reader(clip, limit=options.late + 1) as reader:
            coded = []
            for source, frame in _coded(bundle, engine, reader, reader.info, keyint, options):
                coded.append(frame)
                if frame.number == options.late and name == "long":
                    late.append(late_frame(frame.rgb, source))
        if len(coded) <= options.late:
            raise UsageError(f"{clip}: has {len(coded)} frames, expected {options.late + 1}")
        runs[name] = _summary(coded)
    print(f"{clip.stem}: {_loss_db(runs['long'], options):+.2f} dB", file=sys.stderr)
    reference = _reference(clip, runs["long"]["psnr_rgb_db"][options.early], options)
    return {**runs, "late_frame": asdict(late[0]), "reference": reference}


def _reference(clip: Path, early_db: float, options: argparse.Namespace) -> dict[str, Any]:
    """Early and late frame of x265, at the CRF that is nearest to a PSNR of the early one."""
    rows = [_reference_row(clip, crf, options) for crf in options.crf]
    return min(rows, key=lambda row: abs(float(row["early_db"]) - early_db))


def _reference_row(clip: Path, crf: float, options: argparse.Namespace) -> dict[str, Any]:
    psnr: dict[int, float] = {}

    def note(stream: Path) -> None:
        with open_reader(stream) as decoded, open_reader(clip) as source:
            for number, (frame, original) in enumerate(zip(decoded, source, strict=False)):
                if number in (options.early, options.late):
                    psnr[number] = round(psnr_db(frame, original), 3)

    reference_point(
        REFERENCE,
        clip,
        crf,
        keyint=0,
        frames=options.late + 1,
        with_ms_ssim=False,
        on_stream=note,
    )
    return {
        "codec": REFERENCE.name,
        "crf": crf,
        "early_db": psnr[options.early],
        "late_db": psnr[options.late],
    }


def _coded(
    bundle: Bundle,
    engine: Engine,
    frames: Iterator[Frame],
    info: VideoInfo,
    keyint: int,
    options: argparse.Namespace,
) -> list[tuple[Frame, EncodedFrame]]:
    """Code frames; return each with what a decoder shows of it."""
    sources: list[Frame] = []
    pairs: list[tuple[Frame, EncodedFrame]] = []

    def source() -> Iterator[Frame]:
        for frame in frames:
            sources.append(frame)
            yield frame

    settings = EncoderSettings(quality=options.quality, keyint=keyint, repeats=False)
    Encoder(bundle, engine, settings).encode(
        source(), info, io.BytesIO(), on_frame=lambda coded: pairs.append((sources.pop(), coded))
    )
    return pairs


def _summary(coded: Sequence[EncodedFrame]) -> dict[str, Any]:
    return {
        "psnr_rgb_db": [round(frame.psnr_rgb_db, 3) for frame in coded],
        "bytes": [frame.size_bytes for frame in coded],
        "intra_frames": [f.number for f in coded if f.kind is FrameKind.INTRA],
    }


def _loss_db(run: dict[str, Any], options: argparse.Namespace) -> float:
    psnr = run["psnr_rgb_db"]
    return float(psnr[options.late] - psnr[options.early])


def late_frame(frame: Frame, source: Frame) -> LateFrame:
    """Compare a decoded frame with its source, uint8 (H, W, 3)."""
    error = (frame.astype(np.float64) - source).mean((0, 1))
    return LateFrame([round(float(e), 3) for e in error], edge_steps(frame), edge_steps(source))


def edge_steps(frame: Frame) -> float:
    """Mean absolute step of luma across edges of blocks of 8x8, by that between other samples."""
    luma: NDArray[np.float64] = frame @ LUMA
    at_edges, inside = [], []
    for plane in (luma, luma.T):
        steps = np.abs(np.diff(plane, axis=0)).mean(1)
        edge = np.arange(1, len(steps) + 1) % BLOCK == 0
        at_edges.append(steps[edge].mean())
        inside.append(steps[~edge].mean())
    return round(float(np.mean(at_edges) / np.mean(inside)), 4)


def _scenes(bundle: Bundle, engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Code the first frames of one clip, then those of another."""
    first, second = options.scenes
    count = options.scene_frames
    with open_reader(first, limit=count) as a, open_reader(second, limit=count) as b:
        if a.info.shape != b.info.shape:
            raise UsageError(f"--scenes: {first} and {second} are not of one size")
        info = a.info
        frames = [*islice(a, count), *islice(b, count)]
    pairs = _coded(bundle, engine, iter(frames), info, 0, options)
    return {
        "clips": [first.stem, second.stem],
        "change_at": count,
        **_summary([coded for _, coded in pairs]),
    }


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return the table of clips, and the frames round the change of scene."""
    early, late, refresh = result["early"], result["late"], result["refresh"]
    lines = [
        f"# Quality along a group of pictures, {result['bundle']['name']}",
        "",
        f"Quality {result['quality']}, PSNR of RGB in dB. A long group has an intra frame at its "
        "start, and where the encoder found a change of scene or a breakdown; the others have one "
        f"every {refresh} frames. Steps are those of luma across edges of blocks of {BLOCK}x"
        f"{BLOCK} samples by those inside. {REFERENCE.name}: preset medium with one intra frame, "
        "at the CRF whose early frame is nearest.",
        "",
        f"| clip | intra frames | frame {early} | frame {late} | change "
        f"| frame {late}, intra every {refresh} | {REFERENCE.name}: CRF, change "
        "| mean error R, G, B | steps, decoded / source |",
        "|---" * 9 + "|",
    ]
    for clip, row in result["clips"].items():
        psnr, refreshed = row["long"]["psnr_rgb_db"], row["short"]["psnr_rgb_db"][late]
        found = row["late_frame"]
        theirs = row["reference"]
        their_change = theirs["late_db"] - theirs["early_db"]
        errors = ", ".join(f"{e:+.2f}" for e in found["mean_error"])
        lines.append(
            f"| {clip} | {', '.join(map(str, row['long']['intra_frames']))} | {psnr[early]:.2f} "
            f"| {psnr[late]:.2f} | {psnr[late] - psnr[early]:+.2f} | {refreshed:.2f} "
            f"| {theirs['crf']}, {their_change:+.2f} | {errors} "
            f"| {found['edge_steps']:.2f} / {found['source_edge_steps']:.2f} |"
        )
    if result["scenes"]:
        scenes = result["scenes"]
        start = scenes["change_at"]
        after = scenes["psnr_rgb_db"][start : start + 5]
        lines += [
            "",
            f"{scenes['clips'][0]} followed by {scenes['clips'][1]} from frame {start} on: intra "
            f"frames {', '.join(map(str, scenes['intra_frames']))}; the last frame before has "
            f"{scenes['psnr_rgb_db'][start - 1]:.2f} dB, those from the change on "
            f"{', '.join(f'{value:.2f}' for value in after)} dB.",
        ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
