"""Time encoding and decoding of a clip, and measure a decoder's memory.

    python tools/benchmark.py -i CLIP --frames 32 -o docs/results/benchmark-360p

Warms up, repeats, and writes OUTPUT.json and OUTPUT.md: median and quartiles of milliseconds a
frame by activity, entropy coding alone in Msymbol/s, what it takes to start, and with --rss the
peak resident set of a decoder in a process of its own. The clip is taken as it is.

Pictures are read ahead or written behind by a second thread, as in nvc-run. "video" is how long the
codec waits for that thread, and a part of the total; "video beside" is how long the thread works.

With --jobs N, two groups of pictures for each of N jobs are also encoded and decoded from file to
file as nvc-run does, with one job and with N in turn, starting processes included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    ACTIVITIES,
    BESIDE,
    WORKER_FLAG,
    GroupRates,
    Sample,
    TimedBundle,
    TimedEngine,
    rss_of_decoding,
    run_worker,
    spread_of,
    time_decoding,
    time_encoding,
    time_entropy,
    time_groups,
    work_from_stream,
)
from machine import machine_facts
from report_files import show_report

from nvc_engines import open_engine
from nvc_errors import UsageError
from nvc_runtime.bundle import open_bundle
from nvc_runtime.codec import EncoderSettings
from nvc_runtime.stream import ExactMode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [WORKER_FLAG]:
        run_worker(*given[1:])
        return 0
    options = _parser().parse_args(given)
    return show_report("benchmark", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-i", "--clip", type=Path, required=True, help="video to encode")
    parser.add_argument(
        "-o", "--output", type=Path, help="OUT.json and OUT.md; else JSON on stdout"
    )
    parser.add_argument("--bundle", help="name or path; default: the shipped one")
    parser.add_argument("--engine", default="ort:cpu", help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--quality", type=int, help="default: the bundle's")
    parser.add_argument("--keyint", type=int, help="default: the bundle's")
    parser.add_argument("--exact", choices=[m.value for m in ExactMode], default="symbols")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, help="measure so many jobs beside one, too")
    parser.add_argument("--rss", action="store_true", help="measure memory, too")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Take all measurements; returns the content of the JSON file."""
    if options.repeats < 1 or options.frames < 1:
        raise UsageError("--repeats and --frames must be at least 1")
    settings = EncoderSettings(
        quality=options.quality,
        keyint=options.keyint,
        exact=ExactMode(options.exact),
        repeats=False,
    )
    path = open_bundle(options.bundle).path
    start = time.perf_counter()
    bundle = TimedBundle(path)
    bundle_s = time.perf_counter() - start
    start = time.perf_counter()
    with open_engine(options.engine) as inner:
        engine_s = time.perf_counter() - start
        engine = TimedEngine(inner)
        clip, limit = options.clip, options.frames
        # The first runs load every graph, and warm up.
        first, report, stream = time_encoding(bundle, engine, settings, clip, limit)
        encoding = []
        for _ in range(options.repeats):
            sample, _, again = time_encoding(bundle, engine, settings, clip, limit)
            encoding.append(sample)
            if again != stream:
                raise AssertionError("encoding again gave other bytes")
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "decoded.y4m"
            time_decoding(bundle, engine, stream, output)
            decoding = []
            for _ in range(options.repeats):
                sample, decoded = time_decoding(bundle, engine, stream, output)
                decoding.append(sample)
                if decoded.symbols_digest != report.symbols_digest:
                    raise AssertionError("the decoder found other symbols")
        work = work_from_stream(stream, bundle, engine)
        groups = None
        if options.jobs is not None:
            groups = time_groups(
                bundle, inner, settings, clip, jobs=options.jobs, repeats=options.repeats
            )
        info = inner.info
    time_entropy(work)
    entropy = [time_entropy(work) for _ in range(options.repeats)]
    result: dict[str, Any] = {
        "format": "nvc-benchmark 1",
        "machine": machine_facts(),
        "clip": clip.name,
        "width": report.width,
        "height": report.height,
        "frames": report.frames,
        "repeats": options.repeats,
        "engine": {
            "name": str(info.spec),
            "version": info.backend_version,
            "threads": info.threads,
            "flags": dict(info.flags),
        },
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "settings": {
            "quality": options.quality,
            "keyint": options.keyint,
            "exact": options.exact,
        },
        "stream": {
            "bytes": report.size_bytes,
            "bits_per_pixel": round(report.bits_per_pixel, 6),
            "psnr_rgb_db": round(report.psnr_rgb_db, 3),
            "symbols_digest": report.symbols_digest,
        },
        "start_s": {
            "bundle": round(bundle_s, 4),
            "engine": round(engine_s, 4),
            "encoder_graphs": round(first.load_s, 4),
        },
        "encode": _coding_json(encoding),
        "decode": _coding_json(decoding),
        "entropy": {
            "coded_symbols": work.coded,
            "elements": work.elements,
            "decode": _rates([seconds for seconds, _ in entropy], work.coded, work.elements),
            "encode": _rates([seconds for _, seconds in entropy], work.coded, work.elements),
        },
    }
    if groups is not None:
        result["jobs"] = _jobs_json(groups)
    if options.rss:
        result["memory_bytes"] = rss_of_decoding(Path(__file__), stream, path, options.engine)
    return result


def _coding_json(samples: list[Sample]) -> dict[str, Any]:
    return {
        "ms_per_frame": {
            name: spread_of([s.ms_per_frame[name] for s in samples]).to_json()
            for name in (*ACTIVITIES, BESIDE)
        },
        "fps": spread_of([s.fps for s in samples]).to_json(),
        "codec_fps": spread_of([s.codec_fps for s in samples]).to_json(),
    }


def _jobs_json(groups: GroupRates) -> dict[str, Any]:
    return {
        "frames": groups.frames,
        "fps": {
            name: {str(jobs): spread_of(values).to_json() for jobs, values in rates.items()}
            for name, rates in (("encode", groups.encode), ("decode", groups.decode))
        },
    }


def _rates(seconds: list[float], coded: int, elements: int) -> dict[str, Any]:
    """Msymbol/s, over coded symbols and over all elements."""
    return {
        "coded_msymbol_per_s": spread_of([coded / s / 1e6 for s in seconds]).to_json(),
        "element_msymbol_per_s": spread_of([elements / s / 1e6 for s in seconds]).to_json(),
    }


def markdown_from_result(result: dict[str, Any]) -> str:
    """Tables of a result for people."""

    def cell(spread: dict[str, float]) -> str:
        return f"{spread['median']:.3g} ({spread['q1']:.3g}..{spread['q3']:.3g})"

    machine, engine = result["machine"], result["engine"]
    lines = [
        f"# {result['clip']}, {result['width']}x{result['height']}, {result['frames']} frames",
        "",
        f"{machine['cpu']}, {machine['cores']} cores. {engine['name']} ({engine['version']}), "
        f"{engine['threads']} threads. Bundle {result['bundle']['name']}, "
        f"{result['stream']['bits_per_pixel']:.4f} bit/pixel, "
        f"{result['stream']['psnr_rgb_db']:.2f} dB. "
        f"Median (quartiles) of {result['repeats']} runs.",
        "",
        "| ms per frame | encode | decode |",
        "|---|---|---|",
    ]
    encode, decode = result["encode"], result["decode"]
    lines += [
        f"| {name.replace('_', ' ')} | {cell(encode['ms_per_frame'][name])} | "
        f"{cell(decode['ms_per_frame'][name])} |"
        for name in (*ACTIVITIES, BESIDE)
    ]
    lines += [
        f"| {title} | {cell(encode[key])} | {cell(decode[key])} |"
        for title, key in (
            ("frames/s", "fps"),
            ("frames/s without waiting for video", "codec_fps"),
        )
    ]
    lines += [
        "",
        "| entropy coding alone | encode | decode |",
        "|---|---|---|",
    ]
    entropy = result["entropy"]
    lines += [
        f"| Msymbol/s, {title} | {cell(entropy['encode'][key])} | {cell(entropy['decode'][key])} |"
        for title, key in (
            (f"{entropy['coded_symbols']:,} coded", "coded_msymbol_per_s"),
            (f"{entropy['elements']:,} elements", "element_msymbol_per_s"),
        )
    ]
    start = result["start_s"]
    lines += [
        "",
        f"Start: bundle {start['bundle']:.2f} s, engine {start['engine']:.2f} s, all graphs of the "
        f"encoder {start['encoder_graphs']:.2f} s.",
    ]
    if "jobs" in result:
        jobs = result["jobs"]
        lines += [
            "",
            f"| frames/s, file to file, {jobs['frames']} frames | encode | decode |",
            "|---|---|---|",
        ]
        lines += [
            f"| --jobs {number} | {cell(jobs['fps']['encode'][number])} | "
            f"{cell(jobs['fps']['decode'][number])} |"
            for number in jobs["fps"]["encode"]
        ]
        lines.append("")
    if "memory_bytes" in result:
        memory = result["memory_bytes"]
        lines.append(
            f"Decoder's resident memory: {memory['peak'] / 2**20:.0f} MiB at its peak, "
            f"{memory['start'] / 2**20:.0f} MiB before the first frame."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
