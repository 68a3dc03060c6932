"""Which operators of a graph a target cannot run, said before anything is compiled.

The rules were measured with TensorRT for RTX 1.7.1: ``OnnxParser.supports_operator`` for what no
target has, and builds for what only some lack. A compiler that has learned more since is not
asked: a rule that is wrong can be passed over with ``--no-lint``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from nvc_engines import Gpu, GraphSource
from nvc_engines.gpus import TENSORRT_RTX
from nvc_engines.plans import target_name
from nvc_errors import EngineError
from nvc_export.operators import Operator, content_from_graph

NO_PARSER: Final = frozenset(
    """
    AffineGrid Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad
    Col2Im Compress ConcatFromSequence ConvInteger CumProd DFT DeformConv Det DynamicQuantizeLinear
    ImageDecoder MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix Multinomial
    NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv
    QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase
    SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat
    StringNormalizer StringSplit SwiGLU TfIdfVectorizer Unique
    """.split()  # noqa: SIM905 - a table of forty names reads better as words
)
"""Operators of ONNX that the parser has no importer for, on any target."""

FP32_GEMM: Final = frozenset({"MatMul", "Gemm", "Einsum", "Attention"})
"""Operators that become a matrix product; TensorRT for RTX has none in FP32 for SM 7.5."""

REFUSED_SOMEWHERE: Final = NO_PARSER | FP32_GEMM
"""Every operator that a rule of this module is about."""

_ADVICE: Final = {
    "DeformConv": "write it as GridSample times mask and a 1x1 convolution",
    "AffineGrid": "compute the grid with Mul and Add",
    "Einsum": "write it as a 1x1 convolution, or as Mul and ReduceSum",
}


@dataclass(frozen=True)
class Finding:
    """Operators of one type in one graph that ``targets`` cannot run.

    ``places`` are node names with the module they come from, as far as the file tells.
    """

    targets: tuple[str, ...]
    graph: str
    operator: str
    places: tuple[str, ...]
    reason: str
    advice: str

    def __str__(self) -> str:
        shown = ", ".join(self.places[:3])
        more = f" and {len(self.places) - 3} more" if len(self.places) > 3 else ""
        return (
            f"{', '.join(self.targets)}: graph {self.graph!r} has {self.operator} ({shown}{more}): "
            f"{self.reason}; {self.advice}"
        )


def lint_graphs(sources: Iterable[GraphSource], backend: str, gpus: Sequence[Gpu]) -> list[Finding]:
    """Return what ``gpus`` cannot run, by graph and operator; an empty list if nothing is known.

    Raises ``EngineError`` for a graph that is no ONNX model.
    """
    findings = []
    for source in sources:
        places: dict[str, list[str]] = {}
        for operator in content_from_graph(source).operators:
            places.setdefault(operator.type, []).append(_place(operator))
        for kind, where in places.items():
            targets: dict[tuple[str, str], list[str]] = {}
            for gpu in gpus:
                problem = _problem(kind, backend, gpu)
                name = target_name(backend, gpu)
                if problem is not None and name not in targets.setdefault(problem, []):
                    targets[problem].append(name)
            findings += [
                Finding(tuple(names), source.name, kind, tuple(where), *problem)
                for problem, names in targets.items()
            ]
    return findings


def check_graphs(sources: Iterable[GraphSource], backend: str, gpus: Sequence[Gpu]) -> None:
    """Raise ``EngineError`` with every finding of ``lint_graphs``, if there is one."""
    findings = lint_graphs(sources, backend, gpus)
    if findings:
        raise EngineError(
            f"{len(findings)} operator{'s' if len(findings) > 1 else ''} that cannot be compiled: "
            f"{' | '.join(map(str, findings))}"
        )


def _problem(operator: str, backend: str, gpu: Gpu) -> tuple[str, str] | None:
    """Return why ``gpu`` cannot run an operator, and what to do; None if it can."""
    advice = _ADVICE.get(operator, "express it by other operators")
    if "::" in operator:
        return f"{backend} knows no operator of that domain", "express it by ONNX operators"
    if operator in NO_PARSER:
        return f"{backend} has no such operator on any GPU", advice
    if backend == TENSORRT_RTX and gpu.sm == 75 and operator in FP32_GEMM:
        return (
            f"{backend} has no FP32 matrix product on SM 7.5",
            _ADVICE.get(operator, "use a 1x1 convolution"),
        )
    return None


def _place(operator: Operator) -> str:
    name = operator.node or "a node without name"
    return f"{name} of module {operator.module}" if operator.module else name
