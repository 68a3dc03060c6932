"""Reading plans and bundles back; the lint; what graphs consist of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from engine_building import block_bundle, compile_plan, graph_of, install_stand_in, small_sizes

from nvc_engines import gpu_named
from nvc_errors import BundleError, EngineError, UsageError
from nvc_export.cli.main import run
from nvc_export.engine_builder import BuildOptions, build_engines
from nvc_export.frame_sizes import frame_sizes_from_options
from nvc_export.inspection import FolderInspection, PlanInspection, inspect_path
from nvc_export.lint import check_graphs, lint_graphs
from nvc_export.operators import content_from_graph

TARGET = "tensorrt-rtx-sm75"


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_stand_in(monkeypatch)
    monkeypatch.setattr(
        "nvc_export.plan_process.CompilerProcesses.compile", lambda _, job: compile_plan(job)
    )
    bundle = block_bundle(tmp_path / "bundle")
    build_engines(bundle, ["rtx2080"], tmp_path / "engines", BuildOptions(small_sizes(bundle)))
    return tmp_path / "engines"


def test_a_plan_and_its_record_agree(engines: Path) -> None:
    found = inspect_path(next(engines.rglob("*.plan")))
    assert isinstance(found, PlanInspection)
    assert found.problems == ()
    assert found.header.targets == (75,)
    assert found.header.tf32 is False
    assert found.header.version == "1.7.1.116"
    assert found.record is not None
    assert found.record.gpu == "rtx2080"
    assert json.loads(json.dumps(found.to_json()))["plan"]["targets"] == [75]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gpu": "rtx3090"}, r"targets is \[75\], expected \[86\]"),
        ({"gpu": "rtx9999"}, r"sm75/\w+\.plan: is for GPU 'rtx9999', which is not in the table"),
        ({"backend_version": "1.6.0.1"}, "version is 1.7.1.116, expected 1.6.0.1"),
        ({"plan_sha256": "0" * 64}, "sha256 is"),
        ({"precision": "fp16"}, "precision is fp16"),
        ({"bundle": "other"}, "plans of several bundles"),
        ({"frame_sizes": ["1x1", "1x1", "1x1"]}, "plans of several frame sizes"),
    ],
)
def test_a_record_that_does_not_fit_is_told_with_code_4(
    change: dict[str, Any], says: str, engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = sorted(engines.rglob("*.plan.json"))[0]
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    assert run(["inspect", str(engines)]) == 4
    assert re.search(says, capsys.readouterr().err)


def test_tf32_and_a_missing_record_are_told(engines: Path) -> None:
    plan = sorted(engines.rglob("*.plan"))[0]
    plan.write_bytes(plan.read_bytes().replace(b"tf32=0", b"tf32=1"))
    plan.with_suffix(".plan.json").unlink()
    found = inspect_path(engines)
    assert isinstance(found, FolderInspection)
    assert [problem.partition(": ")[2] for problem in found.problems] == [
        "was compiled with TF32: results are not FP32",
        "has no record, without which it cannot be served",
    ]


@pytest.mark.parametrize("cut", [0, 10, 33, 5999])
def test_a_plan_cut_short_is_damaged(cut: int, engines: Path) -> None:
    plan = sorted(engines.rglob("*.plan"))[0]
    plan.write_bytes(plan.read_bytes()[:cut])
    with pytest.raises(EngineError, match=r"no compiled plan|is damaged"):
        inspect_path(engines)


def test_what_is_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no plan"):
        inspect_path(tmp_path)
    with pytest.raises(UsageError, match="found nothing"):
        inspect_path(tmp_path / "missing")
    (tmp_path / "x.nvcb").write_bytes(b"no archive")
    with pytest.raises(BundleError):
        inspect_path(tmp_path / "x.nvcb")


def test_a_bundle_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = block_bundle(tmp_path / "b")
    assert run(["inspect", str(bundle.path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["kind"] == "bundle"
    assert data["sha256"] == bundle.digest.hex()
    assert data["graphs"].keys() == bundle.manifest.graphs.keys()
    assert data["parameters"] == sum(g["parameters"] for g in data["graphs"].values()) > 0
    assert all(g["operators"] for g in data["graphs"].values())
    assert not all(g["decoder"] for g in data["graphs"].values())
    assert run(["inspect", str(bundle.path)]) == 0
    assert "encoder only" in capsys.readouterr().out


def test_a_graph_s_content_names_modules() -> None:
    content = content_from_graph(graph_of("MatMul"))
    assert content.counts == {"Conv": 1, "MatMul": 1}
    assert [o.module for o in content.operators] == ["decoder.stem", "decoder.attention"]
    assert content.parameters == 2 * 4 * 4 * 9 + 18 * 64
    assert content.inputs == {"x": (1, 4, None, None)}


def test_the_lint_says_what_where_and_for_whom() -> None:
    gpus = [gpu_named(name) for name in ("rtx2080", "t4", "rtx3090")]
    kinds = ("Relu", "MatMul", "DeformConv")
    sources = [graph_of(kind, kind.casefold()) for kind in kinds]
    findings = lint_graphs(sources, "tensorrt-rtx", gpus)
    assert [(f.graph, f.operator, f.targets) for f in findings] == [
        ("matmul", "MatMul", (TARGET,)),
        ("deformconv", "DeformConv", (TARGET, "tensorrt-rtx-sm86")),
    ]
    assert findings[0].places == ("node_2 of module decoder.attention",)
    assert findings[1].places == ("node_2 of module decoder.warp",)
    with pytest.raises(EngineError, match=r"^2 operators .*1x1 convolution \| .*GridSample times"):
        check_graphs(sources, "tensorrt-rtx", gpus)
    check_graphs(sources[:2], "tensorrt-rtx", gpus[2:])
    foreign = graph_of("Relu", "foreign", domain="com.example")
    assert lint_graphs([foreign], "tensorrt", gpus[2:])[0].operator == "com.example::Relu"


def test_the_lint_command_ends_with_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = block_bundle(tmp_path / "b", {"rebuild": graph_of("MatMul", "rebuild").onnx})
    command = ["lint", "--bundle", str(bundle.path)]
    assert run([*command, "--gpu", "rtx3090"]) == 0
    assert run([*command, "--gpu", "rtx2080", "--json"]) == 5
    output = capsys.readouterr().out
    assert json.loads(output[output.index("{") :])["findings"][0]["operator"] == "MatMul"


def test_the_gpus_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gpus", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["gpus"]}
    assert rows["rtx2080"]["sm"] == 75
    assert rows["h200"]["backends"] == ["tensorrt"]
    assert run(["gpus"]) == 0
    assert "rtx5090" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("64x64", "1280x768", "1920x1088")),
        ({"size": "640x384"}, ("64x64", "640x384", "640x384")),
        ({"smallest": "128x128"}, ("128x128", "1280x768", "1920x1088")),
        ({"largest": "640x384"}, ("64x64", "640x384", "640x384")),
        ({"optimal": "2560x1472"}, ("64x64", "2560x1472", "2560x1472")),
        ({"size": "1280x768", "smallest": "1280x768"}, ("1280x768",) * 3),
    ],
)
def test_sizes_left_out_follow_from_the_others(
    options: dict[str, str], expected: tuple[str, str, str]
) -> None:
    assert frame_sizes_from_options(64, **options).texts == expected
