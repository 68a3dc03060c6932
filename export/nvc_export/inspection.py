"""Read plans and bundles back, without a GPU and without the library that compiled them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nvc_engines import gpu_named
from nvc_engines.gpus import TENSORRT_RTX
from nvc_engines.plans import PLAN_SUFFIX, PlanRecord, record_from_json, record_path
from nvc_errors import EngineError, UsageError
from nvc_export.engine_builder import graphs_to_build
from nvc_export.operators import GraphContent, content_from_graph
from nvc_export.plan_header import PlanHeader, header_from_plan
from nvc_runtime.bundle import Bundle


@dataclass(frozen=True)
class PlanInspection:
    """What a plan says of itself, its record if there is one, and where the two disagree."""

    path: Path
    header: PlanHeader
    record: PlanRecord | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the inspection as ``inspect --json`` prints it."""
        header = asdict(self.header)
        header["targets"] = None if self.header.targets is None else list(self.header.targets)
        return {
            "kind": "plan",
            "path": str(self.path),
            "plan": header,
            "record": None if self.record is None else asdict(self.record),
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class FolderInspection:
    """Every plan below a folder, and what keeps them from serving one codec together."""

    path: Path
    plans: tuple[PlanInspection, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the inspection as ``inspect --json`` prints it."""
        return {
            "kind": "engines",
            "path": str(self.path),
            "plans": [plan.to_json() for plan in self.plans],
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class BundleInspection:
    """A bundle's graphs. ``decoder_graphs`` are those that a decoder runs."""

    bundle: Bundle
    graphs: dict[str, GraphContent]
    onnx_bytes: dict[str, int]
    decoder_graphs: tuple[str, ...]
    size_bytes: int
    problems: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Parameters of all graphs."""
        return sum(content.parameters for content in self.graphs.values())

    def to_json(self) -> dict[str, Any]:
        """Return the inspection as ``inspect --json`` prints it."""
        manifest = self.bundle.manifest
        return {
            "kind": "bundle",
            "path": str(self.bundle.path),
            "name": manifest.name,
            "family": manifest.family,
            "sha256": self.bundle.digest.hex(),
            "size_bytes": self.size_bytes,
            "alignment": manifest.alignment,
            "qualities": manifest.qualities,
            "card": dict(manifest.card),
            "parameters": self.parameters,
            "graphs": {
                name: {
                    "inputs": {key: list(dims) for key, dims in content.inputs.items()},
                    "outputs": list(content.outputs),
                    "decoder": name in self.decoder_graphs,
                    "onnx_bytes": self.onnx_bytes[name],
                    "onnx_sha256": manifest.files[manifest.graphs[name].file].sha256,
                    "parameters": content.parameters,
                    "parameter_bytes": content.parameter_bytes,
                    "operators": content.counts,
                }
                for name, content in self.graphs.items()
            },
            "problems": [],
        }


Inspection = PlanInspection | FolderInspection | BundleInspection


def inspect_path(path: Path) -> Inspection:
    """Return what lies at ``path``: a plan, a folder of plans, or a bundle.

    Raises ``UsageError`` if there is nothing, ``EngineError`` for a damaged plan, ``BundleError``
    for a damaged bundle.
    """
    if (path / "manifest.json").is_file():
        return inspect_bundle(Bundle(path))
    if path.is_dir():
        return inspect_folder(path)
    if not path.is_file():
        raise UsageError(f"{path}: expected a plan, a folder of plans, or a bundle; found nothing")
    if path.suffix == PLAN_SUFFIX:
        return inspect_plan(path)
    return inspect_bundle(Bundle(path))


def inspect_plan(path: Path) -> PlanInspection:
    """Return what one plan and its record say. Raises ``EngineError`` if it is damaged."""
    header = header_from_plan(_read(path), str(path))
    record_file = record_path(path.parent, path.name.removesuffix(PLAN_SUFFIX))
    record = record_from_json(record_file, _read(record_file)) if record_file.is_file() else None
    return PlanInspection(path, header, record, tuple(_problems(header, record)))


def inspect_folder(path: Path) -> FolderInspection:
    """Return what every plan in a folder and its subfolders says.

    Raises ``UsageError`` if there is none, ``EngineError`` if one is damaged.
    """
    plans = tuple(
        inspect_plan(file)
        for file in sorted(path.rglob(f"*{PLAN_SUFFIX}"))
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not plans:
        raise UsageError(f"{path}: holds no plan ({PLAN_SUFFIX}) and is no bundle")
    problems = [f"{plan.path}: {problem}" for plan in plans for problem in plan.problems]
    for folder in sorted({plan.path.parent for plan in plans}):
        records = [p.record for p in plans if p.path.parent == folder and p.record is not None]
        for what, values in (
            ("bundles", {f"{r.bundle} {r.bundle_sha256[:16]}" for r in records}),
            ("versions", {f"{r.backend} {r.backend_version}" for r in records}),
            ("frame sizes", {" ".join(r.frame_sizes) for r in records}),
        ):
            if len(values) > 1:
                problems.append(f"{folder}: plans of several {what}: {', '.join(sorted(values))}")
    return FolderInspection(path, plans, tuple(problems))


def inspect_bundle(bundle: Bundle) -> BundleInspection:
    """Return the graphs of a bundle: parameters, operators, sizes."""
    graphs, onnx_bytes = {}, {}
    for name in sorted(bundle.manifest.graphs):
        source = bundle.graph(name)
        graphs[name], onnx_bytes[name] = content_from_graph(source), len(source.onnx)
    return BundleInspection(
        bundle,
        graphs,
        onnx_bytes,
        tuple(graphs_to_build(bundle, decoder_only=True)),
        sum(entry.size_bytes for entry in bundle.manifest.files.values()),
    )


def _problems(header: PlanHeader, record: PlanRecord | None) -> list[str]:
    problems = []
    if header.tf32 is True:
        problems.append("was compiled with TF32: results are not FP32")
    if header.tf32 is None and header.backend == TENSORRT_RTX:
        problems.append("does not say whether TF32 was used")
    if record is None:
        return [*problems, "has no record, without which it cannot be served"]
    checks: list[tuple[str, object, object]] = [
        ("backend", header.backend, record.backend),
        ("sha256", header.sha256, record.plan_sha256),
        ("precision", record.precision, "fp32"),
        ("TF32", record.tf32, False),
    ]
    if header.version is not None:
        # A library may add a suffix to its version that the plan has no room for.
        same = record.backend_version.startswith(header.version)
        checks.append(
            ("version", header.version, header.version if same else record.backend_version)
        )
    try:
        gpu = gpu_named(record.gpu)
    except UsageError:
        problems.append(f"is for GPU {record.gpu!r}, which is not in the table (nvc-export gpus)")
    else:
        if header.targets is not None:
            checks.append(("targets", list(header.targets), [gpu.sm]))
    problems += [
        f"{what} is {found}, expected {said}" for what, found, said in checks if found != said
    ]
    return problems


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror or error}") from error
