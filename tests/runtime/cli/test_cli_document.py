"""docs/cli.md says of the shipped bundles, and of the JSON, what is so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nvc_runtime import open_bundle
from nvc_runtime.bundle import CodeStep
from nvc_runtime.bundle.catalog import BUNDLE_SUFFIX, shipped_folder
from nvc_runtime.cli.options import DEFAULT_BUNDLE

RunTool = Callable[..., Any]
TEXT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
SHIPPED = sorted(path.name.removesuffix(BUNDLE_SUFFIX) for path in shipped_folder().iterdir())


def table_after(line: str) -> dict[str, dict[str, str]]:
    """Cells of the first table after a line, by row and column, without backticks."""
    lines = TEXT.partition(line)[2].lstrip("\n").splitlines()
    rows = []
    for text in lines:
        if not text.startswith("|"):
            break
        rows.append([cell.strip(" `") for cell in text.strip("|").split("|")])
    head, _, *body = rows
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


def test_defaults_of_the_shipped_bundles() -> None:
    line = f"The defaults of the shipped bundles, of which `{DEFAULT_BUNDLE}` is taken without"
    table = table_after(TEXT[TEXT.index(line) :].partition("\n")[0])
    assert sorted(table) == SHIPPED
    for name, row in table.items():
        defaults = open_bundle(name).manifest.defaults
        assert {option: float(value) for option, value in row.items()} == {
            "--quality": defaults.quality,
            "--keyint": defaults.keyint,
            "--intra-offset": defaults.intra_offset,
            "--skip-level": defaults.skip_level,
            "--epsilon": defaults.epsilon,
            "--pixel-epsilon": defaults.pixel_epsilon,
        }


@pytest.mark.parametrize("name", SHIPPED)
def test_sections_of_the_shipped_bundles(name: str) -> None:
    manifest = open_bundle(name).manifest
    steps = (*manifest.intra.steps, *manifest.inter.steps)
    found = {step.section for step in steps if isinstance(step, CodeStep)}
    common = {"hyper", "intra", "motion_hyper", "motion"}
    assert common < found
    (own,) = found - common
    (named,) = (part for part in TEXT.split("`motion`, and ")[1].split(")")[:2] if name in part)
    assert f"`{own}` (" in named


def test_json_of_traces(
    nvc: RunTool, stream: Path, tmp_path: Path, assert_documented: Callable[..., None]
) -> None:
    trace = tmp_path / "a.trace"
    assert nvc("trace", "-i", stream, "-o", trace).code == 0
    compared = nvc("compare", trace, trace, "--json").json
    assert_documented(compared, "latents")
    for latent in compared["latents"].values():
        assert_documented(latent)
    certified = nvc("certify", "--against", trace, "--json").json
    assert_documented(certified, "latents")
    assert certified["certificates"][0]["comparison"].keys() == compared.keys()


def test_json_of_bisect(nvc: RunTool, assert_documented: Callable[..., None]) -> None:
    pytest.importorskip("polygraphy", reason="needs nvc[export]")
    engines = ("--engines", "ort:cpu,ort:cpu,opt=none")
    done = nvc("verify", "--bisect", "intra_synthesis", "--bundle", "block", *engines, "--json")
    assert_documented(done.json)
    assert done.json["first"] is None


def test_reports_within_others_lack_what_the_commands_add(
    nvc: RunTool, clip: Path, stream: Path, tmp_path: Path
) -> None:
    added = {"bundle", "engine", "settings", "output"}
    coding = ["--bundle", "block", "--json"]
    alone = nvc("encode", "-i", clip, "-o", tmp_path / "a.nvc", *coding).json
    within = nvc("verify", "-i", clip, "--engines", "ort:cpu", *coding).json["encode"]
    shown = nvc("demo", "-i", clip, "--output-dir", tmp_path / "d", *coding).json
    decoded = nvc("decode", "-i", stream, "-o", "null", "--json").json
    assert within.keys() == shown["encode"].keys() == alone.keys() - added
    assert shown["decode"].keys() == decoded.keys() - added
    probed = nvc("probe", "-i", stream, "--json").json["settings"]
    assert probed.keys() == alone["settings"].keys() - {"intra_offset", "scene_cuts", "repeats"}
