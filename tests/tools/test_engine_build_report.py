from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")

from engine_build_report import main
from engine_building import compile_plan, install_stand_in


def test_a_report_has_every_graph_and_target(
    block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = install_stand_in(monkeypatch)
    monkeypatch.setattr(
        "nvc_export.plan_process.CompilerProcesses.compile", lambda _, job: compile_plan(job)
    )
    out = tmp_path / "report"
    arguments = ["--bundle", str(block_bundle_path), "--size", "64x64", "-o", str(out)]
    assert main([*arguments, "--gpu", "rtx2080", "--gpu", "a100"]) == 0
    result = json.loads(out.with_suffix(".json").read_text())
    assert list(result["targets"]) == ["tensorrt-rtx-sm75", "tensorrt-rtx-sm80"]
    graphs = set(result["weight_bytes"]) - {"total"}
    for target in result["targets"].values():
        assert set(target["graphs"]) == graphs
        assert target["plan_bytes"] == stand_in.PLAN_BYTES * len(graphs)
        assert target["ratio"] == round(target["plan_bytes"] / result["weight_bytes"]["total"], 3)
    table = out.with_suffix(".md").read_text()
    assert all(f"| {graph} |" in table for graph in graphs)
    assert main([*arguments, "--gpu", "rtx1"]) == 2
