"""The matrix as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvc_calib import PositionCoder
from platform_trials.plan import MAIN, SMALL
from platform_trials.results import LegRecord, MatrixResult, Pair


def markdown_from_result(result: MatrixResult) -> str:
    """Return a page with the verdict, the legs, failures, drift and cost."""
    parts = [_head(result), _summary(result), _legs(result), _failures(result)]
    return "\n".join([*parts, _drift(result), _growth(result), _cost(result)])


def _head(result: MatrixResult) -> str:
    plan = result.plan
    verdict = "Passed." if not result.problems else f"**Failed: {len(result.problems)} problems.**"
    lines = [
        "# Platform matrix",
        "",
        f"{verdict} {result.distinct} bit-distinct float platforms.",
        "",
        f"- bundle `{result.bundle_name}`, digest `{result.bundle_digest[:16]}`; "
        f"commit `{result.machine['commit'] or 'unknown'}`",
        f"- {result.machine['cpu']}; {result.elapsed_s / 60:.1f} min",
        f"- scene *{MAIN}*: {result.source}, {plan.size[0]}x{plan.size[1]}, {plan.frames} frames; "
        f"scene *{SMALL}* for emulated legs: {plan.small_size[0]}x{plan.small_size[1]}, "
        f"{plan.small_frames} frames",
        f"- epsilon {result.epsilon:.3g}, exact {plan.settings.exact.value}",
        "",
    ]
    lines += [f"- {problem}" for problem in result.problems[:50]]
    return "\n".join(lines)


def _summary(result: MatrixResult) -> str:
    """Failed frames over all pairs of different legs."""
    rows = []
    for coder in result.plan.coders:
        row = [coder.value]
        for gop in result.plan.gops:
            failed, frames = result.failures(gop, coder, others_only=True)
            row.append(f"{failed} of {frames} ({_percent(failed, frames)})")
        rows.append(row)
    heads = ["calibration", *(f"failed frames, GOP {gop}" for gop in result.plan.gops)]
    return "\n## Failures between different legs\n\n" + _table(heads, rows)


def _legs(result: MatrixResult) -> str:
    rows = [_leg_row(record) for record in result.legs]
    heads = ["leg", "what it is", "version", "probe", "s / frame"]
    return "\n## Legs\n\n" + _table(heads, rows)


def _leg_row(record: LegRecord) -> list[str]:
    leg = record.leg
    if record.info is None:
        return [leg.name, leg.title, f"skipped: {record.reason}", "", ""]
    digest = f"`{record.digest[:10]}`" + ("" if record.repeats else " (does not repeat)")
    return [leg.name, leg.title, record.info.backend_version, digest, f"{record.frame_s:.3f}"]


def _failures(result: MatrixResult) -> str:
    """One table for each GOP; a cell holds the per cent for every calibration."""
    coders = result.plan.coders
    text = ""
    for gop in result.plan.gops:
        chosen = {coder: _by_legs(result.chosen(gop, coder)) for coder in coders}

        def cell(encoder: str, decoder: str, found: dict[PositionCoder, _Cells] = chosen) -> str:
            pairs = [found[coder].get((encoder, decoder)) for coder in coders]
            return " / ".join(f"{100 * p.failure_rate:.0f}" for p in pairs if p) or ""

        text += (
            f"\n## Failed frames in per cent, GOP {gop}: {' / '.join(c.value for c in coders)}\n\n"
        )
        text += _matrix(result, next(iter(chosen.values())), cell)
    return text + f"\nRows encode, columns decode. Emulated legs: scene *{SMALL}*.\n"


def _drift(result: MatrixResult) -> str:
    coder, gop = result.plan.drift_coder, max(result.plan.gops)
    found = _by_legs(result.chosen(gop, coder))

    def cell(encoder: str, decoder: str) -> str:
        pair = found.get((encoder, decoder))
        if pair is None:
            return ""
        total = pair.decoding.total_drift
        return f"{total.max_difference:.1e} / {total.mean_difference:.1e}"

    text = f"\n## Drift of the scale index, largest / mean, GOP {gop}, {coder.value}\n\n"
    text += _matrix(result, found, cell)
    worst = result.worst_drift()
    if worst is not None:
        total, needed = worst.decoding.total_drift, worst.needed_epsilon
        text += (
            f"\nWorst: {worst.encoder} to {worst.decoder}, GOP {worst.stream.gop}, "
            f"{total.max_difference:.2e}; epsilon with a margin of 4: "
            f"{'none is possible' if needed is None else f'{needed:.2e}'}.\n"
        )
    return text


def _growth(result: MatrixResult) -> str:
    """Largest drift over all pairs, by position in the longest GOP, and samples that differ."""
    coder, gop = result.plan.drift_coder, max(result.plan.gops)
    pairs = result.chosen(gop, coder)
    count = max((p.stream.frames for p in pairs), default=0)
    numbers = sorted({n for n in (0, 1, 2, 4, 8, 16, 32, 64, count - 1) if 0 <= n < count})
    rows = []
    for number in numbers:
        known = [
            p.decoding.drift_by_frame[number] for p in pairs if number in p.decoding.drift_by_frame
        ]
        rows.append([str(number), f"{max(known, default=0.0):.2e}"])
    text = f"\n## Drift along GOP {gop}\n\n" + _table(["frame", "largest drift of any pair"], rows)
    compared = sum(p.decoding.samples for p in pairs)
    differing = sum(p.decoding.differing for p in pairs)
    largest = max((p.decoding.largest for p in pairs), default=0)
    return text + (
        f"\nDecoded 8-bit samples that differ from the encoder's: {differing} of {compared} "
        f"({_percent(differing, compared, 5)}), by {largest} at most.\n"
    )


def _cost(result: MatrixResult) -> str:
    rows = [
        [
            stream.scene,
            str(stream.gop),
            stream.coder.value,
            f"{stream.report.bits_per_pixel:.4f}",
            f"{stream.report.bits['calibration'] / stream.frames:.0f}",
            _percent(stream.report.bits["calibration"], 8 * len(stream.data), 2),
        ]
        for stream in result.streams
        if stream.encoder == result.legs[0].leg.name
    ]
    heads = ["scene", "GOP", "calibration", "bits per pixel", "calibration bits / frame", "share"]
    return f"\n## Cost of calibration ({result.legs[0].leg.name})\n\n" + _table(heads, rows)


_Cells = dict[tuple[str, str], Pair]


def _by_legs(pairs: Iterable[Pair]) -> _Cells:
    return {(pair.encoder, pair.decoder): pair for pair in pairs}


def _matrix(result: MatrixResult, cells: _Cells, cell: object) -> str:
    assert callable(cell)
    names = [record.leg.name for record in result.legs if record.info]
    decoders = [name for name in names if any(decoder == name for _, decoder in cells)]
    rows = [[name, *(str(cell(name, decoder)) for decoder in decoders)] for name in names]
    return _table(["encoder", *decoders], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _percent(part: float, whole: float, digits: int = 1) -> str:
    return f"{100 * part / whole:.{digits}f} %" if whole else "-"
