"""Headings, contents and long tables of the page, and which reports are of earlier bundles."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import make_results
import pytest

from nvc_runtime import Bundle, open_bundle

DOCS = Path(__file__).parents[2] / "docs"
TABLE = ["| clip | setting |", "|---|---|", "| a | 1 |"]


@pytest.fixture
def bundle(block_bundle_path: Path) -> Bundle:
    return open_bundle(block_bundle_path)


def write(folder: Path, name: str, title: str, data: dict[str, Any], *lines: str) -> None:
    (folder / f"{name}.json").write_text(json.dumps(data))
    (folder / f"{name}.md").write_text("\n".join([f"# {title}", "", *lines]) + "\n")


def of(name: str, digest: str) -> dict[str, Any]:
    return {"bundle": {"name": name, "digest": digest}}


def page_from(folder: Path, *shipped: Bundle) -> list[str]:
    return make_results.page_from_reports(folder, shipped).splitlines()


def test_headings_name_bundles_and_contents_link_them(tmp_path: Path, bundle: Bundle) -> None:
    digest = bundle.digest.hex()
    write(tmp_path, "platform-matrix-swift-s", "Platform matrix", of(bundle.name, digest))
    write(tmp_path, "platform-matrix", "Platform matrix", of("other", "00"))
    write(tmp_path, "gop_stability-swift-s", "Quality, block", of(bundle.name, digest))
    lines = page_from(tmp_path, bundle)
    assert [line for line in lines if line.startswith("## ")] == [
        "## Contents",
        "## Quality, block",
        "## Platform matrix: block",
        "## Platform matrix: other",
    ]
    assert lines.index("- Compression") < lines.index("  - [Quality, block](#quality-block)")
    assert "  - [Platform matrix: block](#platform-matrix-block)" in lines
    assert not any(make_results.EARLIER in line for line in lines[lines.index("- Platforms") :])


def test_a_heading_that_repeats_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "skip_cost", "Cost", {})
    write(tmp_path, "constraint", "Cost", {})
    with pytest.raises(ValueError, match="found twice: cost"):
        page_from(tmp_path)


def test_an_earlier_bundle_is_marked(tmp_path: Path, bundle: Bundle) -> None:
    write(tmp_path, "skip_cost", "Cost of skipping", of(bundle.name, "0123456789"))
    lines = page_from(tmp_path, bundle)
    now = bundle.digest.hex()[:8]
    assert f"**block `01234567`: an earlier bundle; shipped is `{now}`.**" in lines
    assert "  - [Cost of skipping: block](#cost-of-skipping-block) (an earlier bundle)" in lines


def test_what_a_certificate_was_measured_on_is_no_earlier_bundle() -> None:
    shipped = open_bundle("swift-s")
    digest = shipped.manifest.card["certificate"]["measured_on"]["digest"]
    others = make_results.other_bundles([("swift-s", digest)], [shipped])
    assert list(others.values()) == [make_results.CERTIFIED]


def test_long_tables_are_left_to_the_report(tmp_path: Path) -> None:
    body = ["![mean](mean.svg)", "", "## Points", "", *TABLE, "", "### Graphs: a", "", *TABLE]
    write(tmp_path, "rate_distortion", "Rate", {}, *body, "", "## Not measured", "", "- all")
    lines = page_from(tmp_path)
    assert "![mean](results/mean.svg)" in lines
    assert "### Not measured" in lines
    assert not {"### Points", "#### Graphs: a", TABLE[0]} & set(lines)
    assert lines[-1] == "Points and Graphs: in [the whole report](results/rate_distortion.md)."


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({}, []),
        (of("a", "1"), [("a", "1")]),
        ({"bundle": "a", "bundle_digest": "1"}, [("a", "1")]),
        ({"bundle": "a"}, [("a", None)]),
        ({"bundles": [{"name": "a", "digest": "1"}, {"name": "b", "digest": "2"}]}, None),
        ({"bundles": {"a": "1", "b": "2"}}, None),
        ({"bundles": {"a": {"digest": "1"}, "b": {"digest": "2"}}}, None),
        ({"pictures": [of("a", "1"), of("a", "1"), of("b", "2")]}, None),
    ],
)
def test_bundles_as_the_tools_write_them(
    data: dict[str, Any], found: list[tuple[str, str | None]] | None
) -> None:
    assert make_results.bundles_of(data) == (
        found if found is not None else [("a", "1"), ("b", "2")]
    )


def test_page_holds_every_report_and_is_the_one_in_docs() -> None:
    named = {report.name for reports in make_results.GROUPS.values() for report in reports}
    assert {path.stem for path in (DOCS / "results").glob("*.md")} <= named
    page = make_results.page_from_reports(DOCS / "results", make_results.shipped_bundles())
    assert (DOCS / "results.md").read_text(encoding="utf-8") == page


def test_links_of_the_page_lead_somewhere() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {make_results.Section(heading, "").anchor for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert not [link for link in links if link[0] != "#" and not (DOCS / link).exists()]
