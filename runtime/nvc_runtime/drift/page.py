"""One self-contained HTML page about a stream on several engines.

It holds the result of every engine, the drift along the GOP as an inline SVG, the stream's bits by
section, and pictures of the first frame in which two engines show different samples. No script,
no external resource.
"""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from nvc_engines import Engine
from nvc_errors import VerificationError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder
from nvc_runtime.codec.samples import Frame
from nvc_runtime.drift.comparison import Comparison, compare_traces
from nvc_runtime.drift.trace import record_trace
from nvc_runtime.probe import probe_stream
from nvc_runtime.verify import VerifyReport
from nvc_runtime.video.png import png_from_frame

AMPLIFICATION = 64
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #ccc;padding:.2rem .6rem;
text-align:right}td:first-child,th:first-child{text-align:left}.ok{background:#e5f5e5}
.bad{background:#fbe0e0}figure{display:inline-block;margin:.5rem;vertical-align:top}
img{max-width:29rem;width:100%}svg text{font:11px system-ui,sans-serif}"""


@dataclass(frozen=True)
class Difference:
    """The first frame in which two engines show different samples."""

    frame: int
    engines: tuple[str, str]
    reference: Frame
    other: Frame


def page_from_report(
    report: VerifyReport,
    stream: bytes,
    engines: Sequence[Engine],
    *,
    bundle: Bundle | None = None,
    limit: int | None = None,
) -> str:
    """Return the page for a stream that was verified on ``engines``; records their drift.

    Decodes what was verified, the first ``limit`` frames, twice more on every engine. What lies
    behind may be damaged; bits are those of all that is intact.
    """
    traces = [record_trace(stream, engine, bundle=bundle, limit=limit) for engine in engines]
    comparisons = [compare_traces(traces[0], other) for other in traces[1:]]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>nvc verification</title>",
        f"<style>{_STYLE}</style><h1>Verification: {'passed' if report.passed else 'FAILED'}</h1>",
        f"<p>{report.header.width}x{report.header.height}, {report.frames} frames, bundle "
        f"{escape(report.header.bundle_name)}, epsilon {report.header.epsilon:.3g}, calibration "
        f"{report.header.position_coder.value}, exact {report.header.exact.value}.</p>",
        _engine_table(report, comparisons),
        "<h2>Drift along the GOP</h2>",
        _drift_plot(comparisons),
        "<h2>Bits by section, of the whole stream</h2>",
        _bits_table(stream),
        _pictures(_first_difference(stream, engines, bundle, limit)),
        "</html>\n",
    ]
    return "\n".join(parts)


def _engine_table(report: VerifyReport, comparisons: Sequence[Comparison]) -> str:
    rows = [
        "<table><tr><th>engine<th>symbols<th>largest drift<th>mean drift<th>flips without "
        "calibration<th>supported epsilon<th>samples that differ<th>by at most</tr>"
    ]
    for number, result in enumerate(report.engines):
        equal = result.first_difference is None
        symbols = "equal" if equal else f"differ at frame {result.first_difference}"
        cells = [f"<td>{escape(result.engine)}", f"<td>{symbols}"]
        if number == 0:
            cells += ["<td>reference"] + ["<td>"] * 5
        else:
            c, pixels = comparisons[number - 1], result.pixels
            epsilon = "none" if c.epsilon is None else f"{c.epsilon:.2g}"
            cells += [
                f"<td>{c.total.max_difference:.2e}",
                f"<td>{c.total.mean_difference:.2e}",
                f"<td>{c.total.coded_flips}",
                f"<td>{epsilon}",
                f"<td>{pixels.share:.2g}" if pixels is not None else "<td>",
                f"<td>{pixels.largest}" if pixels is not None else "<td>",
            ]
        rows.append(f"<tr class={'ok' if equal else 'bad'}>{''.join(cells)}</tr>")
        if result.problem:
            rows.append(f"<tr class=bad><td colspan=8>{escape(result.problem)}</tr>")
    return "\n".join([*rows, "</table>"])


def _drift_plot(comparisons: Sequence[Comparison]) -> str:
    """Largest scale index difference over the frame number, logarithmic."""
    series = [
        [max((d.max_difference for d in f.latents.values()), default=0.0) for f in c.frames]
        for c in comparisons
    ]
    values = [v for s in series for v in s if v > 0.0]
    if not values:
        return "<p>No drift: every engine computed the same bits.</p>"
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)) + 1e-9)
    width, height, left = 860.0, 260.0, 60.0
    count = max(2, max(len(s) for s in series))

    def place(number: int, value: float) -> str:
        x = left + (width - left - 10) * number / (count - 1)
        share = (math.log10(max(value, 10.0**low)) - low) / max(1, high - low)
        return f"{x:.1f},{height - 30 - (height - 50) * share:.1f}"

    lines = [f'<svg viewBox="0 0 {width:g} {height:g}" role=img>']
    for power in range(low, high + 1):
        y = place(0, 10.0**power).split(",")[1]
        lines.append(f'<line x1={left} x2={width - 10} y1={y} y2={y} stroke="#ddd"/>')
        lines.append(f"<text x=4 y={y}>1e{power}</text>")
    for number, (comparison, values_of) in enumerate(zip(comparisons, series, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(place(n, v) for n, v in enumerate(values_of))
        lines.append(f'<polyline points="{points}" fill=none stroke="{colour}"/>')
        name = escape(comparison.engines[1])
        across, down = left + 10 + 200 * (number % 4), 14 + 14 * (number // 4)
        lines.append(f'<text x={across} y={down} fill="{colour}">{name}</text>')
    lines.append(f"<text x={width / 2} y={height - 6}>frame</text></svg>")
    return "\n".join(lines)


def _bits_table(stream: bytes) -> str:
    bits = probe_stream(io.BytesIO(stream)).to_json()["bits"]
    total = sum(bits.values()) or 1.0
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{value:.0f}<td>{100 * value / total:.2f} %</tr>"
        for name, value in bits.items()
    )
    return f"<table><tr><th>section<th>bits<th>share</tr>{rows}</table>"


def _first_difference(
    stream: bytes, engines: Sequence[Engine], bundle: Bundle | None, limit: int | None
) -> Difference | None:
    """Decode in lock step until two engines show different samples."""
    decoders = [
        Decoder(io.BytesIO(stream), engine, bundle=bundle, limit=limit) for engine in engines
    ]
    try:
        for frames in zip(*decoders, strict=False):
            for decoder, frame in zip(decoders[1:], frames[1:], strict=True):
                if not np.array_equal(frame.rgb, frames[0].rgb):
                    names = (str(engines[0].info.spec), str(decoder.engine.info.spec))
                    return Difference(frame.number, names, frames[0].rgb, frame.rgb)
    except VerificationError:
        return None
    return None


def _pictures(difference: Difference | None) -> str:
    if difference is None:
        return "<h2>Pictures</h2><p>No decoded sample differs where engines agree on symbols.</p>"
    delta = np.abs(difference.reference.astype(np.int16) - difference.other)
    shown = np.minimum(delta * AMPLIFICATION, 255).astype(np.uint8)
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{b64encode(png_from_frame(picture)).decode()}" '
        f'alt=""><figcaption>{escape(title)}</figcaption>'
        "</figure>"
        for title, picture in (
            (difference.engines[0], difference.reference),
            (difference.engines[1], difference.other),
            (f"difference x {AMPLIFICATION}", shown),
        )
    )
    return (
        f"<h2>First frame with different samples: {difference.frame}</h2>"
        f"<p>{int(np.count_nonzero(delta))} of {delta.size} samples differ, by at most "
        f"{int(delta.max())}. The symbols are equal; with --exact pixels the samples would be, "
        f"too.</p>{figures}"
    )
