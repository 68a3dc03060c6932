"""Programs: the ordered steps that code one frame (``docs/bundle.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from nvc_errors import BundleError

FRAME = "frame"
"""Name of the source frame; only an encoder has it."""
EXACT_FRAME = "exact_frame"
"""Name of the frame as every decoder shows it, in a sync program."""
GIVEN_FRAMES = (FRAME, EXACT_FRAME)

MAX_SCALE_STEPS = 64
"""Of a program; no codec needs nearly as many."""

RESERVED_SECTIONS = frozenset({"header", "framing", "checks", "calibration", "pixels", "index"})
"""What the container's own bits are counted under."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape of a named tensor: spatial (1, C, H/stride, W/stride), or a quality vector."""

    channels: int
    stride: int | None

    @property
    def is_quality_vector(self) -> bool:
        """Whether the value comes from the bundle's table of quality vectors."""
        return self.stride is None

    def shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Concrete shape for a padded frame of height x width."""
        if self.stride is None:
            return (1, self.channels, 1, 1)
        return (1, self.channels, height // self.stride, width // self.stride)


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its file in the bundle and the tensors it maps."""

    name: str
    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Side = Literal["both", "encode", "show"]
"""Who runs a graph: both directions, only an encoder, or whoever wants the frame in RGB."""


@dataclass(frozen=True)
class RunStep:
    """Run a graph."""

    graph: str
    side: Side = "both"

    @property
    def encode_only(self) -> bool:
        """Whether a decoder never runs it."""
        return self.side == "encode"


@dataclass(frozen=True)
class CodeStep:
    """Code one latent part. ``index`` is None for a factorised prior."""

    tensor: str
    section: str
    tables: str
    index: str | None

    @property
    def has_scale_prior(self) -> bool:
        """Whether a scale index picks the table of each element."""
        return self.index is not None


class PlaneNames(NamedTuple):
    """Luma (1 channel, stride 1) and chroma (2 channels, stride 2) of a reconstruction."""

    luma: str
    chroma: str


ProgramName = Literal["intra", "inter", "sync"]


@dataclass(frozen=True)
class Program:
    """Steps, the reconstruction, and what the next frame finds (None: zeros).

    ``output`` is None in a sync program, which only rebuilds what is carried. ``planes``: the
    reconstruction as Y'CbCr, where a codec has it.
    """

    name: ProgramName
    steps: tuple[RunStep | CodeStep, ...]
    output: str | None
    carry: Mapping[str, str | None]
    planes: PlaneNames | None = None

    @property
    def scale_steps(self) -> tuple[CodeStep, ...]:
        """Coding steps with a scale prior, in coding order."""
        return tuple(s for s in self.steps if isinstance(s, CodeStep) and s.has_scale_prior)


def parse_step(data: Any, where: str) -> RunStep | CodeStep:
    """Read one step of a manifest; raise :class:`BundleError` if it is malformed."""
    if not isinstance(data, dict):
        raise BundleError(f"{where}: expected an object, found {type(data).__name__}")
    if "run" in data:
        _only_keys(data, {"run", "side"}, where)
        side = data.get("side", "both")
        if side not in get_args(Side):
            raise BundleError(f"{where}: side is {side!r}, expected 'both', 'encode' or 'show'")
        return RunStep(_text(data, "run", where), side)
    _only_keys(data, {"code", "section", "prior", "tables", "index"}, where)
    prior = data.get("prior")
    if prior not in ("factorized", "scale"):
        raise BundleError(f"{where}: prior is {prior!r}, expected 'factorized' or 'scale'")
    if (prior == "scale") != ("index" in data):
        raise BundleError(f"{where}: a scale prior, and only that, has an index tensor")
    if data.get("section") in tuple(RESERVED_SECTIONS):
        raise BundleError(f"{where}: section {data['section']!r} is the container's; rename it")
    return CodeStep(
        tensor=_text(data, "code", where),
        section=_text(data, "section", where),
        tables=_text(data, "tables", where),
        index=_text(data, "index", where) if prior == "scale" else None,
    )


def check_program(
    program: Program, tensors: Mapping[str, TensorSpec], graphs: Mapping[str, GraphSpec]
) -> None:
    """Follow a program as encoder and decoder would; raise :class:`BundleError` if it breaks.

    Every name must exist, every input must be available on that side when it is read, and what
    a decoder reads must not depend on the source frame.
    """
    vectors = {name for name, spec in tensors.items() if spec.is_quality_vector}
    given: set[str] = {"intra": set[str](), "inter": set(program.carry), "sync": {EXACT_FRAME}}[
        program.name
    ]
    both = vectors | given
    encoder, shown = both | {FRAME}, set[str]()
    if len(program.scale_steps) > MAX_SCALE_STEPS:
        raise BundleError(
            f"program {program.name}: {len(program.scale_steps)} coding steps with a scale prior, "
            f"expected at most {MAX_SCALE_STEPS}"
        )
    for number, step in enumerate(program.steps):
        where = f"program {program.name}, step {number + 1}"
        if program.name == "sync" and (isinstance(step, CodeStep) or step.side != "both"):
            raise BundleError(f"{where}: a sync program only runs graphs, on both sides")
        if isinstance(step, CodeStep):
            _check_code_step(step, tensors, both, encoder, where)
            both.add(step.tensor)
            continue
        if step.graph not in graphs:
            raise BundleError(f"{where}: runs graph {step.graph!r}, which the manifest lacks")
        graph = graphs[step.graph]
        available = encoder if step.encode_only else both
        missing = [name for name in graph.inputs if name not in available]
        if missing:
            raise BundleError(f"{where}: graph {graph.name!r} reads {missing} before they exist")
        replaced = sorted(both & set(graph.outputs)) if step.side != "both" else []
        if replaced:
            raise BundleError(
                f"{where}: graph {graph.name!r} replaces {replaced} on one side only, which a "
                "decoder could not follow"
            )
        if step.side == "show":
            shown.update(graph.outputs)
            continue
        encoder.update(graph.outputs)
        if not step.encode_only:
            both.update(graph.outputs)
    for target, source in program.carry.items():
        if source is not None and source not in both:
            raise BundleError(f"program {program.name}: carries {source!r}, which does not exist")
        if source is not None and tensors[source] != tensors[target]:
            raise BundleError(
                f"program {program.name}: carries {source!r} as {target!r}, of another shape"
            )
    if program.name == "sync" and program.output is None:
        return
    if (
        program.output is None
        or program.output not in both | shown
        or tensors[program.output] != TensorSpec(3, 1)
    ):
        raise BundleError(
            f"program {program.name}: output {program.output!r} is no tensor of 3 channels at "
            "stride 1 that a decoder has"
        )
    _check_planes(program, tensors, both)


def _check_planes(program: Program, tensors: Mapping[str, TensorSpec], both: set[str]) -> None:
    if program.planes is None:
        return
    for name, spec in (
        (program.planes.luma, TensorSpec(1, 1)),
        (program.planes.chroma, TensorSpec(2, 2)),
    ):
        if name not in both or tensors[name] != spec:
            raise BundleError(
                f"program {program.name}: planes name {name!r}, which is no tensor of "
                f"{spec.channels} channels at stride {spec.stride} that a decoder has"
            )


def _check_code_step(
    step: CodeStep,
    tensors: Mapping[str, TensorSpec],
    both: set[str],
    encoder: set[str],
    where: str,
) -> None:
    if step.tensor not in tensors or tensors[step.tensor].is_quality_vector:
        raise BundleError(f"{where}: codes {step.tensor!r}, which is no spatial tensor")
    if step.tensor in both or step.tensor not in encoder:
        raise BundleError(
            f"{where}: codes {step.tensor!r}; expected a tensor that only the encoder has by then"
        )
    if step.index is not None and (
        step.index not in both or tensors[step.index] != tensors[step.tensor]
    ):
        raise BundleError(
            f"{where}: index {step.index!r} must exist on both sides, with the shape of "
            f"{step.tensor!r}"
        )


def _only_keys(data: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise BundleError(f"{where}: unknown fields {unknown}; known: {sorted(known)}")


def _text(data: Mapping[str, Any], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise BundleError(f"{where}: {key!r} is {value!r}, expected a name")
    return value
