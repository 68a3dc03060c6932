"""The report for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_reports.groups import rate_after_first

Item = Mapping[str, Any]


def markdown_from_record(record: Mapping[str, Any]) -> str:
    """Tabulate what there is so far."""
    device = record.get("device", {})
    items = record.get("items", [])
    bundles = ", ".join(f"`{n}` `{d[:16]}`" for n, d in record.get("bundles", {}).items())
    origins = sorted({stream["encoded_on"] for stream in record.get("streams", [])})
    title, place = "Decoding without a GPU", str(record.get("machine", {}).get("cpu"))
    if device.get("device"):
        title = "Decoding on a GPU"
        place = (
            f"{device['device']} (compute capability {device.get('capability')}), driver "
            f"{device.get('driver')}"
        )
    lines = [
        f"# {title}",
        "",
        f"{place}, torch {device.get('torch')}. Bundles: {bundles}. Streams encoded on: "
        f"{'; '.join(origins)}. Reference for drift: {record.get('reference')} on the same "
        "machine. All in FP32; TF32 is off unless the engine's name says otherwise.",
    ]
    sections: list[tuple[str, str, Callable[[Item], str], str]] = [
        (
            "golden",
            "Golden streams",
            _golden_row,
            "| bundle | engine | symbols | damaged noticed | largest drift | exact samples that "
            "differ | samples that differ |",
        ),
        (
            "drift",
            "Drift of the scale indices",
            _drift_row,
            "| stream | engine | largest drift | epsilon | wrong frames, calibrated "
            "| wrong frames, uncalibrated | samples that differ |",
        ),
        (
            "speed",
            "Speed, milliseconds a frame (median of warm inter frames)",
            _speed_row,
            "| stream | engine | total | frames/s | transform | entropy | calibration | stream io "
            "| first start, s | second start, s | caches read |",
        ),
        (
            "groups",
            "Groups of pictures side by side, file to nothing",
            _groups_row,
            "| stream | engine | jobs | frames | frames/s with starting | frames/s after the first "
            "frame | first frame, s | symbols |",
        ),
    ]
    for kind, title, row, head in sections:
        chosen = [item for item in items if item["kind"] == kind]
        if chosen:
            lines += ["", f"## {title}", "", head, "|---" * (head.count("|") - 1) + "|"]
            lines += [row(item) for item in chosen]
    lines += _graphs(items)
    problems = [item for item in items if item["state"] not in ("done", "running")]
    if problems:
        lines += ["", "## Not measured", ""]
        lines += [
            f"- {item['kind']} {item['engine']} {_what(item)}: {item['state']}; "
            f"{item.get('error') or item.get('reason') or ''}"
            for item in problems
        ]
    return "\n".join(lines) + "\n"


def _what(item: Item) -> str:
    return Path(str(item["what"])).name


def _row(*cells: object) -> str:
    return "| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |"


def _number(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else format(value, form)


def _golden_row(item: Item) -> str:
    streams = item.get("streams")
    if streams is None:
        return _row(_what(item), item["engine"], item["state"], *[None] * 4)
    good = sum(not stream["problem"] for stream in streams)
    noticed = sum(not why for why in item["failing"].values())
    differing = [
        f"{sum(s['differing_samples'] for s in chosen)} of {sum(s['samples'] for s in chosen)}"
        for chosen in (
            [s for s in streams if s["samples_are_exact"]],
            [s for s in streams if not s["samples_are_exact"]],
        )
    ]
    return _row(
        _what(item),
        item["engine"],
        f"{good} of {len(streams)}",
        f"{noticed} of {len(item['failing'])}",
        _number(item["max_index_difference"]),
        *differing,
    )


def _drift_row(item: Item) -> str:
    if "calibrated" not in item:
        return _row(_what(item), item["engine"], item["state"], *[None] * 4)
    wrong = [
        f"{item[kind]['wrong_frames']} of {item[kind]['frames']}" if item[kind] else None
        for kind in ("calibrated", "uncalibrated")
    ]
    return _row(
        _what(item),
        item["engine"],
        _number(item["max_difference"]),
        _number(item["epsilon"]),
        *wrong,
        f"{item['differing_samples']} of {item['samples']}",
    )


def _speed_row(item: Item) -> str:
    starts = [start["until_all_decoded_s"] for start in item.get("starts", [])]
    starts += [None] * (2 - len(starts))
    read = " / ".join(f"{s['caches_read']} of {s['caches']}" for s in item.get("starts", []))
    inter = item.get("frame_ms", {}).get("inter")
    if inter is None:
        return _row(_what(item), item["engine"], item["state"], *[None] * 5, *starts, read)
    medians = [
        inter[name]["median"] for name in ("total", "transform", "entropy", "calibration", "io")
    ]
    return _row(
        _what(item),
        item["engine"],
        _number(medians[0]),
        _number(1000 / medians[0], ".1f"),
        *map(_number, medians[1:]),
        *starts,
        read,
    )


def _groups_row(item: Item) -> str:
    if "fps" not in item:
        return _row(_what(item), item["engine"], item["jobs"], item["state"], *[None] * 4)
    fps, first_frame_s = item["fps"]["median"], item["first_frame_s"]["median"]
    return _row(
        _what(item),
        item["engine"],
        item["jobs"],
        item["frames"],
        _number(fps, ".1f"),
        _number(rate_after_first(item["frames"], fps, first_frame_s), ".1f"),
        _number(first_frame_s, ".2f"),
        "equal" if item["good"] else "differ",
    )


def _graphs(items: list[Item]) -> list[str]:
    lines = []
    for item in items:
        if "graphs_ms" not in item:
            continue
        lines += ["", f"### Graphs: {_what(item)}, {item['engine']}", "", "| graph | ms |"]
        lines += ["|---|---|"]
        lines += [
            f"| {name} | {spent['median']:.3f} |"
            for name, spent in sorted(item["graphs_ms"].items(), key=lambda i: -i[1]["median"])
        ]
        for kind, moved in item.get("per_frame", {}).items():
            lines += [
                "",
                f"An {kind} frame: {moved['uploads']:.0f} uploads of "
                f"{moved['upload_bytes'] / 1e6:.2f} MB in {moved['upload_ms']:.2f} ms, "
                f"{moved['downloads']:.0f} downloads of {moved['download_bytes'] / 1e6:.2f} MB in "
                f"{moved['download_ms']:.2f} ms.",
            ]
    return lines
