"""Compile every graph of a bundle for one or more GPUs into a folder that engines are served from.

A target's plans, records and logs are written to a temporary folder beside their place and renamed
when all of them are there, so an engines directory never holds half a codec.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvc_engines import Gpu, gpu_for_backend
from nvc_engines.gpus import TENSORRT, TENSORRT_RTX
from nvc_engines.plans import (
    PlanRecord,
    plan_path,
    target_name,
    write_plan,
    write_whole,
)
from nvc_errors import OutputError, UsageError
from nvc_export.frame_sizes import FrameSizes, input_shapes
from nvc_export.lint import check_graphs
from nvc_export.plan_cache import PlanCache, key_of_job
from nvc_export.plan_compiler import (
    CompiledPlan,
    CompileJob,
    check_device,
    load_library,
)
from nvc_export.plan_process import CompilerProcesses
from nvc_export.replacement import put_in_place
from nvc_runtime.bundle import Bundle, RunStep

LOG_SUFFIX = ".plan.log"
NOT_FIXED = (
    "the compiler could not be run twice alike here: a build without the cache may give other "
    "bytes, keep the plans where a release has to be reproduced"
)
TIMED = (
    "kernels are chosen by timing on this GPU: keep the plans, a build without the cache may "
    "choose others"
)


@dataclass(frozen=True)
class BuildOptions:
    """What to build and how.

    ``jobs`` is the number of processes, 1 where kernels are timed (TensorRT); ``cache`` None
    compiles everything anew.
    """

    sizes: FrameSizes
    backend: str = TENSORRT_RTX
    decoder_only: bool = False
    jobs: int = 1
    cache: PlanCache | None = None
    lint: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class BuiltPlan:
    """One plan of a build. Times are those of its compilation, also if that was another day's."""

    target: str
    graph: str
    size_bytes: int
    sha256: str
    elapsed_s: float
    cpu_s: float
    cached: bool


@dataclass(frozen=True)
class BuildReport:
    """The result of a build. ``folders``: target -> where its plans lie."""

    bundle: str
    bundle_sha256: str
    backend: str
    backend_version: str
    frame_sizes: tuple[str, str, str]
    folders: dict[str, Path]
    plans: tuple[BuiltPlan, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as ``build-engine --json`` prints it."""
        return {
            "format": "nvc-engine-build 1",
            "bundle": {"name": self.bundle, "sha256": self.bundle_sha256},
            "backend": self.backend,
            "backend_version": self.backend_version,
            "frame_sizes": dict(zip(("min", "opt", "max"), self.frame_sizes, strict=True)),
            "targets": {name: str(folder) for name, folder in self.folders.items()},
            "plans": [
                {
                    "target": plan.target,
                    "graph": plan.graph,
                    "size_bytes": plan.size_bytes,
                    "sha256": plan.sha256,
                    "elapsed_s": round(plan.elapsed_s, 3),
                    "cpu_s": round(plan.cpu_s, 3),
                    "cached": plan.cached,
                }
                for plan in self.plans
            ],
            "notes": list(self.notes),
        }


Progress = Callable[[BuiltPlan, int, int], None]
"""Is told of each plan as it is done, with the number done and the number wanted."""


def graphs_to_build(bundle: Bundle, *, decoder_only: bool = False) -> list[str]:
    """Return the names of a bundle's graphs, or of those a decoder runs, sorted."""
    manifest = bundle.manifest
    if not decoder_only:
        return sorted(manifest.graphs)
    programs = [manifest.intra, manifest.inter]
    programs += [manifest.sync] if manifest.sync is not None else []
    steps = [step for program in programs for step in program.steps]
    return sorted({s.graph for s in steps if isinstance(s, RunStep) and not s.encode_only})


def build_engines(
    bundle: Bundle,
    gpus: Sequence[str],
    folder: Path,
    options: BuildOptions,
    progress: Progress = lambda *_: None,
) -> BuildReport:
    """Compile ``bundle`` for ``gpus`` into ``folder``, one subfolder a target.

    GPUs of one compute capability share a target.

    Raises:
        UsageError: a GPU or size is not possible, or a target's folder exists.
        EngineUnavailableError: the compiler, or the GPU it needs, is not here.
        EngineError: a graph cannot be compiled; nothing has been written then.
        OutputError: the plans cannot be written; nothing is left of them then.

    """
    targets = _targets(gpus, options)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file, and engines need a folder; give another one to -o")
    for name in targets:
        if (folder / name).exists() and not options.overwrite:
            raise UsageError(f"{folder / name}: exists; use -y to overwrite it")
    graphs = graphs_to_build(bundle, decoder_only=options.decoder_only)
    sources = [bundle.graph(name) for name in graphs]
    if options.lint:
        check_graphs(sources, options.backend, list(targets.values()))
    version = str(load_library(options.backend).__version__)
    for gpu in targets.values():
        check_device(options.backend, gpu)
    jobs = [
        CompileJob(
            options.backend,
            gpu.name,
            source.name,
            source.onnx,
            input_shapes(bundle.manifest, source.name, options.sizes),
        )
        for gpu in targets.values()
        for source in sources
    ]
    digests = {source.name: source.sha256 for source in sources}
    notes: list[str] = []
    built: list[BuiltPlan] = []
    with _temporary_folder(folder) as temporary:
        for job, plan, cached in _compile_all(jobs, version, options, notes):
            target = next(name for name, gpu in targets.items() if gpu.name == job.gpu)
            record = PlanRecord(
                backend=options.backend,
                backend_version=version,
                gpu=job.gpu,
                bundle=bundle.name,
                bundle_sha256=bundle.digest.hex(),
                onnx_sha256=digests[job.graph],
                plan_sha256=hashlib.sha256(plan.content).hexdigest(),
                frame_sizes=options.sizes.texts,
                inputs=job.inputs,
            )
            write_plan(temporary / target, job.graph, plan.content, record)
            log = plan_path(temporary / target, job.graph).with_suffix(LOG_SUFFIX)
            write_whole(log, plan.log.encode())
            built.append(
                BuiltPlan(
                    target,
                    job.graph,
                    len(plan.content),
                    record.plan_sha256,
                    plan.elapsed_s,
                    plan.cpu_s,
                    cached,
                )
            )
            progress(built[-1], len(built), len(jobs))
        put_in_place([(temporary / name, folder / name) for name in targets], folder)
    order = {name: index for index, name in enumerate(targets)}
    return BuildReport(
        bundle.name,
        bundle.digest.hex(),
        options.backend,
        version,
        options.sizes.texts,
        {name: folder / name for name in targets},
        tuple(sorted(built, key=lambda plan: (order[plan.target], plan.graph))),
        tuple(notes),
    )


def _targets(names: Sequence[str], options: BuildOptions) -> dict[str, Gpu]:
    if not names:
        raise UsageError("no GPU given; give --gpu, as in --gpu rtx2080 (see nvc-export gpus)")
    if options.jobs < 1:
        raise UsageError(f"--jobs is {options.jobs}, expected at least 1")
    if options.jobs > 1 and options.backend == TENSORRT:
        raise UsageError(
            f"--jobs is {options.jobs}, expected 1 for {TENSORRT}: it chooses kernels by timing "
            "them on this GPU, and processes beside each other would time each other's load"
        )
    targets: dict[str, Gpu] = {}
    for name in names:
        gpu = gpu_for_backend(name, options.backend)
        targets.setdefault(target_name(options.backend, gpu), gpu)
        if gpu.sm == 75 and options.backend == TENSORRT_RTX and options.sizes.is_fixed:
            raise UsageError(
                f"plans of one fixed size become more than ten times larger on {gpu.name} (SM 75); "
                f"give a --min-size below {options.sizes.largest}"
            )
    return targets


def _compile_all(
    jobs: Sequence[CompileJob], version: str, options: BuildOptions, notes: list[str]
) -> Iterator[tuple[CompileJob, CompiledPlan, bool]]:
    """Yield each job's plan as it comes, and whether it was in the cache."""
    cache, missing = options.cache, []
    for job in jobs:
        plan = cache.get(key_of_job(job, version)) if cache else None
        if plan is None:
            missing.append(job)
        else:
            _note_unless_fixed(plan, options.backend, notes)
            yield job, plan, True
    for job, plan in _compile(missing, options.jobs):
        _note_unless_fixed(plan, options.backend, notes)
        if cache is not None:
            try:
                cache.put(key_of_job(job, version), plan)
            except OutputError as error:
                notes.append(f"plans are not cached: {error}")
                cache = None
        yield job, plan, False


def _note_unless_fixed(plan: CompiledPlan, backend: str, notes: list[str]) -> None:
    note = TIMED if backend == TENSORRT else NOT_FIXED
    if not plan.fixed and note not in notes:
        notes.append(note)


def _compile(jobs: Sequence[CompileJob], count: int) -> Iterator[tuple[CompileJob, CompiledPlan]]:
    if not jobs:
        return
    processes = CompilerProcesses()
    with ThreadPoolExecutor(min(count, len(jobs))) as threads:
        # The largest first: whoever gets a large one last keeps all others waiting.
        ordered = sorted(jobs, key=lambda job: -len(job.onnx))
        futures = {threads.submit(processes.compile, job): job for job in ordered}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Give a folder inside ``folder`` that is removed afterwards, and ``folder``, too, if empty."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".nvc-"))
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
