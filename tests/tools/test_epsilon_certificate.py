"""Certificates of epsilon: made from reports, refused where these do not support it, shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import epsilon_certificate
import pytest
from block_codec import block_files, block_manifest, write_archive
from epsilon_certificate import certificate_from_reports
from typer.testing import CliRunner

from nvc_errors import UsageError, VerificationError

RESULTS = Path(__file__).parents[2] / "docs" / "results"
BUNDLE = {"name": "some", "digest": "ab" * 32}
MACHINE = {"cpu": "a CPU", "commit": "0123456789ab"}
EPSILON = 5e-4


def leg(name: str, **more: Any) -> dict[str, Any]:
    about = {"title": f"the leg {name}", "version": "1.0", "device": "a CPU"}
    return {"name": name, "available": True, **about, **more}


def matrix(**changes: Any) -> dict[str, Any]:
    drifts = {("a", "a"): 0.0, ("a", "b"): 1e-4, ("b", "a"): 2e-4}
    pairs = [{"encoder": e, "decoder": d, "drift": {"max": m}} for (e, d), m in drifts.items()]
    pairs.append({"encoder": "a", "decoder": "b"})
    missing = {"name": "c", "title": "missing", "available": False, "reason": "not here"}
    return {
        "bundle": BUNDLE,
        "machine": MACHINE,
        "clip": "clip.mp4",
        "epsilon": EPSILON,
        "passed": True,
        "plan": {"size": [256, 128], "gops": [12, 96], "frames": 96},
        "legs": [leg("a"), leg("b"), missing],
        "pairs": pairs,
    } | changes


def curve(**changes: Any) -> dict[str, Any]:
    return {
        "bundle": BUNDLE,
        "machine": MACHINE,
        "clip": "clip.mp4",
        "epsilon": EPSILON,
        "passed": True,
        "sizes": {"main": [1280, 720]},
        "frames": 301,
        "sync": 0,
        "reference": "a",
        "legs": [leg("a", max_difference=0.0), leg("d", max_difference=2.2e-4)],
    } | changes


def test_largest_drift_of_all_reports_counts() -> None:
    found = certificate_from_reports({"m.json": matrix(), "d.json": curve()}, min_margin=2)
    assert found["measured_on"] == BUNDLE
    assert (found["epsilon"], found["largest_drift"], found["margin"]) == (EPSILON, 2.2e-4, 2.27)
    assert [platform["name"] for platform in found["platforms"]] == ["a", "b", "d"]
    first, second = found["measurements"]
    assert (first["between"], first["gop"], first["pairs"]) == (["b", "a"], 96, 3)
    assert (second["between"], second["gop"], second["size"]) == (["a", "d"], 301, [1280, 720])
    assert {part["commit"] for part in found["measurements"]} == {MACHINE["commit"]}


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ({"m": matrix(passed=False)}, "m did not pass"),
        ({"m": matrix(), "d": curve(passed=False)}, "d did not pass"),
        ({"m": matrix(epsilon=3e-4)}, "1.5 times the largest drift"),
        ({"d": curve(streams={"main": {"intra_frames": [0, 9]}})}, "d: .* not one group"),
    ],
)
def test_what_reports_do_not_support_is_refused(
    reports: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(VerificationError, match=message):
        certificate_from_reports(reports, min_margin=2)


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ({"m": matrix(), "d": curve(bundle=BUNDLE | {"digest": "cd" * 32})}, "different bundles"),
        ({"m": matrix(), "d": curve(epsilon=1e-3)}, "--epsilon"),
        ({"x": {"what": "else"}}, "a report lacks 'bundle'"),
    ],
)
def test_reports_that_do_not_fit_are_usage_errors(
    reports: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        certificate_from_reports(reports)


def test_the_committed_matrix_is_certified_into_a_card_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from nvc_export.cli.main import app

    old, card = tmp_path / "old.json", tmp_path / "card.json"
    old.write_text('{"license": "Apache-2.0"}', encoding="utf-8")
    report = RESULTS / "platform-matrix.json"
    arguments = ["-i", str(report), "--card", str(old), "-o", str(card)]
    assert epsilon_certificate.main(arguments) == 0
    data = json.loads(card.read_text(encoding="utf-8"))
    assert data["license"] == "Apache-2.0"
    certificate = data["certificate"]
    assert certificate["largest_drift"] * 2 <= certificate["epsilon"]
    assert len(certificate["platforms"]) >= 7
    files = block_files(block_manifest() | {"card": data})
    bundle = write_archive(tmp_path / "certified.nvcb", files)
    shown = CliRunner().invoke(app, ["inspect", str(bundle)])
    assert shown.exit_code == 0
    assert f"certified: epsilon {certificate['epsilon']}" in shown.stdout
    assert f"{len(certificate['platforms'])} platforms" in shown.stdout
    plain = CliRunner().invoke(app, ["inspect", str(bundle), "--json"])
    assert json.loads(plain.stdout)["card"] == data
    assert epsilon_certificate.main(["-i", str(tmp_path / "missing.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
