"""Workers: the messages, engines in other processes, the CPUID mask."""

from __future__ import annotations

import importlib.metadata
import io
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platform_legs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from platform_legs import emulated, wasm
from platform_legs.cache import Cache, run_tool
from platform_legs.masked import patch_cpuid
from platform_legs.remote import RemoteEngine, python_worker, worker_path
from platform_legs.wire import pack_tensors, receive, send, unpack_tensors
from platform_trials.wrappers import RememberingEngine

from nvc_engines import Engine, open_engine
from nvc_errors import EngineError, EngineUnavailableError
from nvc_runtime import Bundle

SPEC = "ort:cpu,threads=1"
ARRAYS = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=4, max_side=5),
    elements=st.floats(width=32, allow_nan=True),
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3))
def test_tensors_survive_the_wire(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    listed, blob = pack_tensors(tensors)
    file = io.BytesIO()
    send(file, {"tensors": listed}, blob)
    file.seek(0)
    message = receive(file)
    assert message is not None
    found = unpack_tensors(message[0]["tensors"], message[1])
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert receive(file) is None


def test_a_message_cut_short_is_none() -> None:
    file = io.BytesIO()
    send(file, {"op": "run"}, b"abcdef")
    whole = file.getvalue()
    assert receive(io.BytesIO(whole)) is not None
    for size in range(len(whole)):
        assert receive(io.BytesIO(whole[:size])) is None


def _run_prior(engine: Engine, bundle: Bundle) -> dict[str, NDArray[np.float32]]:
    tensors = bundle.manifest.tensors
    graph = engine.load(bundle.graph("intra_prior"), {"z": tensors["z"].shape(64, 96)})
    z = np.arange(12, dtype=np.float32).reshape(tensors["z"].shape(64, 96)) - 5
    outputs = graph.run({"z": engine.upload(z)})
    return {name: engine.download(tensor) for name, tensor in outputs.items()}


def test_worker_gives_the_bits_of_the_engine_inside(block_bundle_path: Path) -> None:
    bundle = Bundle(block_bundle_path)
    with open_engine(SPEC) as engine:
        expected = _run_prior(engine, bundle)
    env = {"PYTHONPATH": worker_path()}
    with RemoteEngine(python_worker(SPEC), spec=SPEC, env=env, flags={"leg": "x"}) as remote:
        found = _run_prior(remote, bundle)
        assert remote.info.flags["leg"] == "x"
        assert remote.info.backend_version.startswith("onnxruntime")
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert np.array_equal(found[name], array)
        source = bundle.graph("intra_prior")
        with pytest.raises(EngineError):
            remote.load(source, {"z": (1, 3, 2, 2)})
        # The worker outlives a refusal.
        assert np.array_equal(_run_prior(remote, bundle)["index_0"], expected["index_0"])
    with pytest.raises(EngineError, match="closed"):
        _run_prior(remote, bundle)


def test_a_worker_that_dies_is_named_with_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(EngineUnavailableError, match="no such luck"):
        RemoteEngine(command, spec=SPEC)


def test_remembered_runs_are_equal_and_not_repeated(block_bundle_path: Path) -> None:
    bundle = Bundle(block_bundle_path)
    with open_engine(SPEC) as engine:
        expected = _run_prior(engine, bundle)
        remembering = RememberingEngine(engine)
        for _ in range(2):
            found = _run_prior(remembering, bundle)
            assert all(np.array_equal(found[name], expected[name]) for name in expected)
        assert (remembering.runs, remembering.repeats) == (2, 1)
        remembering.forget()
        _run_prior(remembering, bundle)
        assert (remembering.runs, remembering.repeats) == (3, 1)
        nothing = RememberingEngine(engine, memory_bytes=0)
        for _ in range(2):
            _run_prior(nothing, bundle)
        assert (nothing.runs, nothing.repeats) == (2, 0)


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def fail(folder: Path) -> None:
        (folder / "half").write_text("half", encoding="utf-8")
        raise EngineUnavailableError("the network is down")

    with pytest.raises(EngineUnavailableError, match="network"):
        cache.folder("thing", fail)
    assert list(cache.root.iterdir()) == []
    made = cache.folder("thing", lambda folder: (folder / "whole").mkdir())
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert cache.folder("thing", fail) == made
    with pytest.raises(EngineUnavailableError, match="missing"):
        Cache(tmp_path / "other", offline=True).folder("thing", fail)


def test_a_tool_that_fails_is_quoted() -> None:
    with pytest.raises(EngineUnavailableError, match=r"exit code 3.*sorry"):
        run_tool([sys.executable, "-c", "import sys; print('sorry', file=sys.stderr); sys.exit(3)"])


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="needs Linux on x86-64"
)
@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("gcc", "objdump")), reason="needs gcc and binutils"
)
def test_the_mask_clears_features_of_a_patched_program(tmp_path: Path) -> None:
    program, mask = tmp_path / "features", tmp_path / "mask.so"
    code = tmp_path / "features.c"
    code.write_text(
        "#include <cpuid.h>\n#include <stdio.h>\n"
        "int main(void) { unsigned a, b, c, d; __cpuid_count(1, 0, a, b, c, d);\n"
        'printf("%08x %08x\\n", c, d); return 0; }\n',
        encoding="utf-8",
    )
    source = Path(platform_legs.__file__).with_name("cpuid_mask.c")
    run_tool(["gcc", "-O1", "-o", program, code])
    run_tool(["gcc", "-O2", "-shared", "-fPIC", "-o", mask, source])
    native = [int(word, 16) for word in run_tool([program]).split()]
    assert patch_cpuid(program) == 1
    # ud2 without the handler ends the program.
    assert subprocess.run([program], capture_output=True, check=False).returncode != 0
    bits = 0x2001001
    env = {"LD_PRELOAD": str(mask), "NVC_CPUID_CLEAR": f"7.b.ffffffff,1.c.{bits:x}"}
    masked = [int(word, 16) for word in run_tool([program], env=env).split()]
    assert native[0] & bits
    assert masked == [native[0] & ~bits, native[1]]
    with pytest.raises(EngineUnavailableError, match="cannot read"):
        run_tool([program], env={**env, "NVC_CPUID_CLEAR": "one.c.2"})
    with pytest.raises(EngineUnavailableError, match="no cpuid"):
        patch_cpuid(program)


class NameKeeper(Cache):
    """Fills every folder but that of the aarch64 system, keeps the names, and gives nothing out."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.names: list[str] = []

    def folder(self, name: str, fill: Callable[[Path], None]) -> Path:
        if name == "aarch64-bookworm":
            return self.root
        self.names.append(name)
        fill(self.root)
        raise EngineUnavailableError("that is all")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="needs Linux on x86-64"
)
def test_aarch64_legs_take_the_version_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"onnxruntime": "1.2.3"}
    fetched: list[str] = []

    def version_of(package: str) -> str:
        if package not in versions:
            raise importlib.metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(importlib.metadata, "version", version_of)
    monkeypatch.setattr(
        emulated, "install_wheels", lambda _target, packages, *_options: fetched.extend(packages)
    )
    ort, openvino = emulated.emulated_legs()
    cache = NameKeeper(tmp_path)
    with pytest.raises(EngineUnavailableError, match="that is all"):
        ort.open(cache)
    assert cache.names == ["aarch64-onnxruntime-1.2.3-py3.11"]
    assert fetched == ["numpy", "onnxruntime==1.2.3"]
    with pytest.raises(EngineUnavailableError, match="pip install openvino"):
        openvino.open(cache)


def test_the_wasm_leg_takes_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(wasm, "require_tools", lambda *_names: None)
    monkeypatch.setattr(wasm, "run_tool", lambda command, **_options: commands.append(command))
    (leg,) = wasm.wasm_legs()
    cache = NameKeeper(tmp_path)
    with pytest.raises(EngineUnavailableError, match="that is all"):
        leg.open(cache)
    (name,) = cache.names
    assert commands[0][-1] == name.replace("web-", "web@")
    assert name.removeprefix("onnxruntime-web-")[0].isdigit()
