"""Building engines, with a stand-in for the compiler: everything but the compiler itself."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_building import (
    block_bundle,
    compile_plan,
    content_of,
    graph_of,
    install_stand_in,
    small_sizes,
)

from nvc_engines import gpu_named
from nvc_engines.gpus import GPUS as TABLE
from nvc_engines.plans import read_plan
from nvc_errors import EngineError, EngineUnavailableError, OutputError, UsageError
from nvc_export import plan_compiler, plan_worker
from nvc_export.cli.main import run
from nvc_export.engine_builder import (
    NOT_FIXED,
    TIMED,
    BuildOptions,
    BuiltPlan,
    build_engines,
    graphs_to_build,
)
from nvc_export.lint import lint_graphs
from nvc_export.plan_cache import PlanCache, default_cache_folder, key_of_job
from nvc_export.plan_compiler import CompiledPlan, CompileJob
from nvc_export.plan_process import CompilerProcesses
from nvc_runtime import Bundle
from nvc_runtime.bundle import known_bundles

GPUS = ("rtx2080", "rtx3090")
BUILDER = "nvc_export.engine_builder"
COMPILE = "nvc_export.plan_process.CompilerProcesses.compile"
X = {"x": ((1, 4, 8, 8), (1, 4, 16, 16), (1, 4, 32, 32))}


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Any:
    stand_in = install_stand_in(monkeypatch)
    # A process for each plan takes its time: one test has them, the others compile right here.
    monkeypatch.setattr(COMPILE, lambda _, job: replace(compile_plan(job), fixed=True))
    return stand_in


@pytest.fixture
def compiler_in_processes(monkeypatch: pytest.MonkeyPatch) -> Any:
    return install_stand_in(monkeypatch)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return block_bundle(tmp_path_factory.mktemp("bundle"))


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 2000 bytes, as on a disk that has no more."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def job_of(kind: str = "Relu", gpu: str = "rtx2080") -> CompileJob:
    return CompileJob("tensorrt-rtx", gpu, "tiny", graph_of(kind).onnx, X)


@pytest.mark.usefixtures("compiler")
def test_a_bundle_becomes_a_folder_per_target(bundle: Bundle, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(plan: BuiltPlan, done: int, total: int) -> None:
        seen.append((plan.graph, done, total))

    options = BuildOptions(small_sizes(bundle))
    report = build_engines(bundle, ("rtx2080", "rtx2070", "rtx3090"), tmp_path, options, progress)
    graphs = sorted(bundle.manifest.graphs)
    assert list(report.folders) == ["tensorrt-rtx-sm75", "tensorrt-rtx-sm86"]
    assert sorted(p.name for p in tmp_path.iterdir()) == list(report.folders)
    expected = {f"{g}.plan{end}" for g in graphs for end in ("", ".json", ".log")}
    for folder in report.folders.values():
        assert {p.name for p in folder.iterdir()} == expected
    assert [done for _, done, _ in seen] == list(range(1, 2 * len(graphs) + 1))
    for gpu in GPUS:
        for name in graphs:
            plan = read_plan(
                tmp_path, bundle.graph(name), "tensorrt-rtx", gpu_named(gpu), "1.7.1.116"
            )
            assert plan.record.bundle_sha256 == bundle.digest.hex()
            assert plan.record.frame_sizes == ("32x32", "128x64", "128x64")
            assert b"tf32=0" in plan.content
    frame = next(r for r in graphs if bundle.manifest.graphs[r].inputs[0] == "frame")
    record = read_plan(
        tmp_path, bundle.graph(frame), "tensorrt-rtx", gpu_named("rtx2080"), "1.7.1.116"
    ).record
    assert record.inputs["frame"] == ((1, 3, 32, 32), (1, 3, 64, 128), (1, 3, 64, 128))
    log = (report.folders["tensorrt-rtx-sm75"] / f"{frame}.plan.log").read_text()
    assert "Opset version" in log
    assert "nobody" not in log


@pytest.mark.usefixtures("compiler_in_processes")
def test_a_second_build_is_byte_identical_in_processes_too(bundle: Bundle, tmp_path: Path) -> None:
    options = BuildOptions(small_sizes(bundle), decoder_only=True)
    build_engines(bundle, GPUS[:1], tmp_path / "a", options)
    build_engines(bundle, GPUS[:1], tmp_path / "b", replace(options, jobs=2))
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")


def test_a_decoder_needs_fewer_graphs(bundle: Bundle) -> None:
    decoder = graphs_to_build(bundle, decoder_only=True)
    assert set(decoder) < set(graphs_to_build(bundle)) == set(bundle.manifest.graphs)
    assert not any("frame" in bundle.manifest.graphs[name].inputs for name in decoder)


@pytest.mark.usefixtures("compiler")
def test_the_cache_is_used_and_checked(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PlanCache(tmp_path / "cache")
    options = BuildOptions(small_sizes(bundle), cache=cache, overwrite=True)
    first = build_engines(bundle, GPUS[:1], tmp_path / "out", options)
    before = content_of(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(COMPILE, lambda *_: pytest.fail("compiled"))
        second = build_engines(bundle, ("rtx2070",), tmp_path / "out", options)
    assert not any(plan.cached for plan in first.plans)
    assert all(plan.cached for plan in second.plans)
    plans = {name: data for name, data in before.items() if name.endswith(".plan")}
    assert plans.items() <= content_of(tmp_path / "out").items()
    damaged = next((tmp_path / "cache").rglob("*.plan"))
    damaged.write_bytes(b"vtrt")
    third = build_engines(bundle, GPUS[:1], tmp_path / "out", options)
    assert [plan.cached for plan in third.plans].count(False) == 1
    assert content_of(tmp_path / "out") == before


def test_everything_that_decides_a_plan_is_in_its_key() -> None:
    job = job_of()
    keys = {
        key_of_job(other, version)
        for other, version in (
            (job, "1.0"),
            (job, "1.1"),
            (replace(job, gpu="rtx3090"), "1.0"),
            (replace(job, onnx=b"other"), "1.0"),
            (replace(job, inputs={"x": (X["x"][0], X["x"][1], (1, 4, 64, 64))}), "1.0"),
            (replace(job, backend="tensorrt"), "1.0"),
            (replace(job, backend="tensorrt", gpu="rtx2070"), "1.0"),
        )
    }
    assert len(keys) == 7
    assert key_of_job(replace(job, gpu="rtx2070"), "1.0") == key_of_job(job, "1.0")


@pytest.mark.parametrize(
    ("environment", "platform", "folder"),
    [
        ({"NVC_CACHE": "/c", "HOME": "/h"}, "linux", "/c/plans"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "linux", "/x/nvc/plans"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "linux", "/h/.cache/nvc/plans"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/nvc/plans"),
        ({"HOME": "/h", "LOCALAPPDATA": "/l"}, "win32", "/l/nvc/Cache/plans"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_caches(
    environment: dict[str, str], platform: str, folder: str
) -> None:
    assert default_cache_folder(environment, platform) == Path(folder)


@pytest.mark.usefixtures("compiler")
def test_a_full_disk_leaves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    options = BuildOptions(small_sizes(bundle))
    with full_disk(), pytest.raises(OutputError, match="cannot write"):
        build_engines(bundle, GPUS, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    build_engines(bundle, GPUS[:1], tmp_path / "out", options)
    before = content_of(tmp_path / "out")
    with full_disk(), pytest.raises(OutputError):
        build_engines(bundle, GPUS, tmp_path / "out", replace(options, overwrite=True))
    assert content_of(tmp_path / "out") == before


@pytest.mark.usefixtures("compiler")
def test_a_cache_that_cannot_be_written_is_only_a_note(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    options = BuildOptions(small_sizes(bundle), cache=PlanCache(tmp_path / "cache"))
    report = build_engines(bundle, GPUS[:1], tmp_path / "out", options)
    assert len(report.notes) == 1
    assert len(report.plans) == len(bundle.manifest.graphs)


@pytest.mark.usefixtures("compiler")
def test_a_failure_halfway_puts_back_what_was_there(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BuildOptions(small_sizes(bundle), overwrite=True)
    build_engines(bundle, GPUS, tmp_path, options)
    before = content_of(tmp_path)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "tensorrt-rtx-sm86" and self.parent.name.startswith(".nvc-"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="No space left"):
        build_engines(bundle, GPUS, tmp_path, replace(options, decoder_only=True))
    assert content_of(tmp_path) == before


@pytest.mark.usefixtures("compiler")
def test_an_existing_target_is_kept_unless_told(bundle: Bundle, tmp_path: Path) -> None:
    options = BuildOptions(small_sizes(bundle))
    build_engines(bundle, GPUS[:1], tmp_path, options)
    before = content_of(tmp_path)
    with pytest.raises(UsageError, match="sm75: exists; use -y"):
        build_engines(bundle, GPUS, tmp_path, options)
    assert content_of(tmp_path) == before
    build_engines(bundle, GPUS[1:], tmp_path, options)
    assert before.items() < content_of(tmp_path).items()
    file = next(tmp_path.rglob("*.plan"))
    with pytest.raises(UsageError, match="is a file, and engines need a folder"):
        build_engines(bundle, GPUS, file, options)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("path", known_bundles(), ids=lambda path: path.stem)
def test_every_gpu_has_all_operators_of_the_shipped_bundles(path: Path) -> None:
    bundle = Bundle(path)
    graphs = [bundle.graph(name) for name in graphs_to_build(bundle, decoder_only=False)]
    for backend in ("tensorrt-rtx", "tensorrt"):
        targets = [gpu for gpu in TABLE.values() if backend in gpu.backends]
        assert targets
        assert lint_graphs(graphs, backend, targets) == []


def test_the_lint_refuses_before_anything_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "rebuild"
    bundle = block_bundle(tmp_path / "b", {name: graph_of("MatMul", name).onnx})
    monkeypatch.setattr(COMPILE, lambda *_: pytest.fail("compiled"))
    options = BuildOptions(small_sizes(bundle))
    with pytest.raises(EngineError, match=r"sm75: graph 'rebuild' has MatMul .*decoder.attention"):
        build_engines(bundle, GPUS, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_damaged_graph_says_so_and_leaves_nothing(compiler: Any, tmp_path: Path) -> None:
    name = "rebuild"
    bundle = block_bundle(tmp_path / "b", {name: b"this is no ONNX"})
    options = BuildOptions(small_sizes(bundle))
    for lint in (True, False):
        with pytest.raises(EngineError, match="'rebuild' is not an ONNX model"):
            build_engines(bundle, GPUS, tmp_path / "out", replace(options, lint=lint))
    assert not (tmp_path / "out").exists()
    assert compiler.__version__ == "1.7.1.116"


def test_what_the_compiler_says_is_in_the_error(compiler: Any, monkeypatch: Any) -> None:
    with pytest.raises(EngineError, match=r"'tiny' for rtx2080 \(SM 75\); FP32 GEMM is not supp"):
        compile_plan(job_of("MatMul"))
    assert compile_plan(job_of("MatMul", "rtx3090")).content
    with pytest.raises(EngineError, match="node_2: no importer registered for op: DeformConv"):
        compile_plan(job_of("DeformConv"))
    monkeypatch.setattr(compiler.Builder, "forget_tf32", True)
    with pytest.raises(EngineError, match="says tf32=1: FP32 is not proven"):
        compile_plan(job_of())


@pytest.mark.usefixtures("compiler")
def test_a_manifest_that_does_not_fit_its_graph_is_refused() -> None:
    job = job_of()
    with pytest.raises(EngineError, match=r"has inputs \['x'\], but the manifest says \['z'\]"):
        compile_plan(replace(job, inputs={"z": X["x"]}))
    with pytest.raises(EngineError, match=r"takes input 'x' as \(1, 4, any, any\)"):
        compile_plan(replace(job, inputs={"x": ((1, 5, 8, 8),) * 3}))


@pytest.mark.usefixtures("compiler")
def test_one_fixed_size_is_refused_where_it_bloats(bundle: Bundle, tmp_path: Path) -> None:
    sizes = replace(small_sizes(bundle), smallest=small_sizes(bundle).largest)
    with pytest.raises(UsageError, match="ten times larger on rtx2080"):
        build_engines(bundle, GPUS, tmp_path, BuildOptions(sizes))


def test_a_missing_library_says_what_to_install(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineUnavailableError, match=r'pip install "nvc\[tensorrt-rtx,export\]"'):
        build_engines(bundle, GPUS, tmp_path / "out", BuildOptions(small_sizes(bundle)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import os; os.abort()", r": SIGABRT$"),
        ("import os; os.kill(os.getpid(), 9)", r": SIGKILL; out of memory\? Use a smaller --jobs$"),
        (
            "import os, sys; sys.exit(os.environ['CUDA_DEVICE_ORDER'])",
            r": exit code 1; PCI_BUS_ID$",
        ),
    ],
)
def test_a_compiler_that_dies_is_an_error(
    body: str,
    says: str,
    compiler_in_processes: Any,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert compiler_in_processes is plan_compiler.load_library("tensorrt-rtx")
    dying = tmp_path / "dying.py"
    dying.write_text(f"{body}\n")
    monkeypatch.setattr("nvc_export.plan_worker.__file__", str(dying))
    with pytest.raises(EngineError, match=f"died while it compiled graph .*{says}"):
        build_engines(bundle, GPUS, tmp_path / "out", BuildOptions(small_sizes(bundle), jobs=2))
    assert not (tmp_path / "out").exists()


def test_a_library_that_cannot_be_imported_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    job = {"module": "no_such_library", "path": sys.path, "backend": "tensorrt", "sm": 75}
    Path(plan_worker.JOB_FILE).write_text(json.dumps(job))
    Path(plan_worker.GRAPH_FILE).write_bytes(b"")
    plan_worker._run(True)
    result = json.loads(Path(plan_worker.RESULT_FILE).read_text())
    assert (result["error"], result["lines"]) == ("No module named 'no_such_library'", [])


def test_a_graph_is_compiled_until_two_attempts_agree(
    compiler_in_processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiler_in_processes is plan_compiler.load_library("tensorrt-rtx")
    plan = compile_plan(job_of())
    made: list[bytes] = []

    def attempt(contents: str) -> CompiledPlan:
        made.clear()
        source = iter(contents)

        def once(*_: Any) -> CompiledPlan:
            made.append(next(source).encode())
            return replace(plan, content=made[-1], elapsed_s=1.0, fixed=True)

        monkeypatch.setattr("nvc_export.plan_process.CompilerProcesses.compile_once", once)
        return CompilerProcesses().compile(job_of())

    for contents, count, content, fixed in (
        ("aa", 2, b"a", True),
        ("abcb", 4, b"b", True),
        ("abcdef", 6, b"f", False),
    ):
        found = attempt(contents)
        assert (found.content, found.fixed, len(made)) == (content, fixed, count)
        assert found.elapsed_s == count


@pytest.mark.usefixtures("compiler_in_processes")
def test_no_room_for_the_compiler_s_files_is_an_error(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nvc_export.plan_process._write_job", full)
    with pytest.raises(OutputError, match=r"cannot compile in .*No space left"):
        build_engines(bundle, GPUS, tmp_path / "out", BuildOptions(small_sizes(bundle)))
    assert not (tmp_path / "out").exists()


def test_a_system_that_moves_addresses_is_noted(
    compiler: Any, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiler is plan_compiler.load_library("tensorrt-rtx")
    monkeypatch.setattr(COMPILE, lambda _, job: replace(compile_plan(job), fixed=False))
    report = build_engines(bundle, GPUS, tmp_path / "out", BuildOptions(small_sizes(bundle)))
    assert report.notes == (NOT_FIXED,)


def test_a_cached_plan_that_moves_addresses_keeps_its_note(
    compiler: Any, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiler is plan_compiler.load_library("tensorrt-rtx")
    cache = PlanCache(tmp_path / "cache")
    options = BuildOptions(small_sizes(bundle), cache=cache, overwrite=True)
    monkeypatch.setattr(COMPILE, lambda _, job: replace(compile_plan(job), fixed=False))
    build_engines(bundle, GPUS[:1], tmp_path / "out", options)
    report = build_engines(bundle, GPUS[:1], tmp_path / "out", options)
    assert all(plan.cached for plan in report.plans)
    assert report.notes == (NOT_FIXED,)


def test_builders_that_time_kernels_run_one_at_a_time(
    compiler: Any,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", compiler)
    monkeypatch.setattr(f"{BUILDER}.check_device", lambda *_: None)
    monkeypatch.setattr(COMPILE, lambda *_: CompiledPlan(b"plan", "", 1.0, 1.0, fixed=False))
    command = ["build-engine", "--bundle", str(bundle.path), "--no-cache", "--no-progress"]
    command += ["--backend", "tensorrt", "--gpu", "rtx2080", "-o", str(tmp_path / "out")]
    assert run([*command, "--jobs", "2"]) == 2
    assert "--jobs is 2, expected 1 for tensorrt: " in capsys.readouterr().err
    assert run(command) == 0
    assert capsys.readouterr().err == f"note: {TIMED}\n"


@pytest.mark.usefixtures("compiler")
def test_the_command_builds_and_inspects(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["build-engine", "--bundle", str(bundle.path), "--no-cache", "--size", "128x64"]
    out = tmp_path / "engines"
    where = ["-o", str(out), "--jobs", "1"]
    assert run([*common, *where, "--gpu", "rtx2080", "--json"]) == 0
    output = capsys.readouterr()
    report = json.loads(output.out)
    count = len(bundle.manifest.graphs)
    assert len(report["plans"]) == count
    assert f"{count}/{count} tensorrt-rtx-sm75" in output.err
    assert run([*common, *where, "--gpu", "rtx2080"]) == 2
    assert "use -y" in capsys.readouterr().err
    assert run([*common, *where, "--gpu", "rtx2080", "-y", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["inspect", str(out), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["plans"]) == count
    assert run(["inspect", str(out)]) == 0
    assert "SM 75, TF32 off" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--gpu", "rtx208"], 2, "unknown GPU 'rtx208'; known: t4, .*did you mean 'rtx2080'"),
        (["--gpu", "h100"], 2, "use tensorrt:h100, .*build-engine --backend tensorrt"),
        (["--gpu", "rtx2080", "--size", "130x64"], 2, "no multiple of 32, .*; use 160x64"),
        (["--gpu", "rtx2080", "--size", "wide"], 2, "WIDTHxHEIGHT, such as 1280x768"),
        (["--gpu", "rtx2080", "--size", "64x64", "--max-size", "64x64"], 2, "one or the other"),
        (["--gpu", "rtx2080", "--opt-size", "64x64", "--max-size", "32x32"], 2, "not in order"),
        ([], 2, "--gpu"),
    ],
)
@pytest.mark.usefixtures("compiler")
def test_wrong_arguments_are_told(
    arguments: list[str],
    code: int,
    says: str,
    bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "engines"
    common = ["build-engine", "--bundle", str(bundle.path), "--no-cache", "-o", str(out)]
    assert run([*common, *arguments]) == code
    error = capsys.readouterr().err
    assert re.search(says, error), error
    assert error.count("\n") == 1
    assert not out.exists()
