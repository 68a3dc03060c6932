"""What may import what: the runtime works without PyTorch, and packages depend one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "nvc_errors": ROOT / "errors",
    "nvc_calib": ROOT / "calib",
    "nvc_engines": ROOT / "engines",
    "nvc_runtime": ROOT / "runtime",
    "nvc_models": ROOT / "models",
    "nvc_export": ROOT / "export",
}
MAY_IMPORT = {
    "nvc_errors": set(),
    "nvc_calib": {"nvc_errors"},
    "nvc_engines": {"nvc_errors"},
    "nvc_runtime": {"nvc_errors", "nvc_calib", "nvc_engines"},
    "nvc_models": {"nvc_errors", "nvc_calib"},
    "nvc_export": {"nvc_errors", "nvc_calib", "nvc_engines", "nvc_runtime", "nvc_models"},
}
THIRD_PARTY = {
    "nvc_errors": set(),
    "nvc_calib": {"numpy"},
    "nvc_models": {"numpy", "safetensors", "torch"},
}
"""Distributions that a package may import at all; others follow their extras."""

HEAVY = ("nvc_models", "nvc_export", "onnx", "onnxscript", "torch", "torch_pruning")
ONLY_WITH_EXPORT = {"onnx", "onnxscript", "polygraphy", "torch", "torch_pruning"}
ASKS_FOR_EXPORT = {"verify_bisect.py"}
"""Modules of the runtime that look for a library of the export side when they are used."""
TYPE_CHECKING = "TYPE_CHECKING"


def sources(package: str) -> list[Path]:
    found = sorted((PACKAGES[package] / package).rglob("*.py"))
    assert found, package
    return found


def imported_roots(tree: ast.AST) -> set[str]:
    """Return top-level names of every module imported anywhere in a tree."""
    roots: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            roots.add((node.module or "").partition(".")[0])
    return roots


def imported_at_once(tree: ast.Module) -> set[str]:
    """Return roots of what is imported when the module is; not within functions or for types."""
    roots: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and TYPE_CHECKING in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            roots |= imported_roots(node)
        waiting += ast.iter_child_nodes(node)
    return roots


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_depend_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in sources(package):
        roots = imported_roots(ast.parse(path.read_text(encoding="utf-8")))
        ours = {root for root in roots if root.startswith("nvc_")}
        assert ours <= allowed, f"{path.relative_to(ROOT)} imports {sorted(ours - allowed)}"
        assert "tools" not in roots, path
        assert "tests" not in roots, path


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_packages_need_no_more_than_they_say(package: str) -> None:
    allowed = THIRD_PARTY[package] | set(sys.stdlib_module_names)
    for path in sources(package):
        roots = imported_roots(ast.parse(path.read_text(encoding="utf-8")))
        foreign = {root for root in roots if not root.startswith("nvc_")} - allowed
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


@pytest.mark.parametrize("package", ["nvc_errors", "nvc_calib", "nvc_runtime"])
def test_the_runtime_never_names_a_library_of_the_export_side(package: str) -> None:
    for path in sources(package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        late = path.name in ASKS_FOR_EXPORT
        roots = imported_at_once(tree) if late else imported_roots(tree)
        assert not roots & ONLY_WITH_EXPORT, path.relative_to(ROOT)


def test_only_the_backends_import_their_libraries_at_once() -> None:
    backends = {"torch", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda", "onnx"}
    importers = {}
    for path in sources("nvc_engines"):
        roots = imported_at_once(ast.parse(path.read_text(encoding="utf-8"))) & backends
        if roots:
            importers[path.stem] = roots
    for module in ("__init__", "interface", "registry", "spec", "gpus", "checks", "host"):
        assert module not in importers


def modules_after(script: str) -> set[str]:
    """Run Python statements in a process of its own; return which heavy modules they loaded."""
    show = f"import sys; print('LOADED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{show}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "script",
    [
        "import nvc_calib",
        "import nvc_engines",
        "import nvc_runtime",
        "from nvc_runtime import Decoder, Encoder, open_bundle, open_reader",
        "import nvc_engines; nvc_engines.open_engine('ort:cpu,threads=1').close()",
        "from nvc_runtime.cli.main import run; assert run(['--help']) == 0",
    ],
    ids=["calib", "engines", "runtime", "codec", "ort", "nvc-run"],
)
def test_decoding_loads_neither_torch_nor_onnx(script: str) -> None:
    assert modules_after(script) == set()


@pytest.mark.parametrize("blocked", ["torch", "onnx"])
def test_the_runtime_works_where_torch_and_onnx_are_not_installed(blocked: str) -> None:
    script = (
        f"import sys; sys.modules[{blocked!r}] = None\n"
        "import nvc_calib, nvc_engines, nvc_runtime\n"
        "from nvc_runtime import Decoder, Encoder\n"
        "from nvc_runtime.cli.main import run\n"
        "assert run(['encode', '--help']) == 0\n"
        f"del sys.modules[{blocked!r}]"
    )
    assert modules_after(script) == set()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_public_names_are_sorted_and_exist(package: str) -> None:
    if package in ("nvc_models", "nvc_export"):
        pytest.importorskip("torch")
        pytest.importorskip("onnx")
    module = __import__(package)
    names = list(module.__all__)
    assert len(names) == len(set(names))
    assert names == sorted(names, key=_ruff_order)
    assert [name for name in names if not hasattr(module, name)] == []


def _ruff_order(name: str) -> tuple[int, str]:
    """Return the order that ruff keeps: constants, classes, the rest."""
    if name.isupper():
        return (0, name)
    return (1, name) if name[0].isupper() else (2, name)
