"""Certify an engine against a recorded trace: same symbols, and drift below an epsilon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nvc_engines import Engine
from nvc_errors import UsageError, VerificationError
from nvc_runtime.bundle import Bundle
from nvc_runtime.drift.comparison import Comparison, compare_traces
from nvc_runtime.drift.trace import Trace, record_trace


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Certificate:
    """What certifying an engine found."""

    engine: str
    reference: str
    epsilon: float
    comparison: Comparison
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def check(self) -> None:
        """Raise :class:`VerificationError` unless every check passed."""
        failed = [check for check in self.checks if not check.passed]
        if failed:
            raise VerificationError(
                f"{self.engine} is not certified for epsilon {self.epsilon:.3g}: {failed[0].name}: "
                f"{failed[0].detail}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "engine": self.engine,
            "reference": self.reference,
            "epsilon": self.epsilon,
            "passed": self.passed,
            "checks": [
                {"name": c.name, "passed": c.passed, "detail": c.detail} for c in self.checks
            ],
            "comparison": self.comparison.to_json(),
        }


def certify(
    engine: Engine, against: Trace, epsilon: float | None = None, *, bundle: Bundle | None = None
) -> Certificate:
    """Decode a trace's stream on ``engine`` and compare it with the trace, frame by frame.

    ``epsilon`` defaults to that of the stream. Passed means: every frame decoded, every digest
    equal, and no recorded scale index further off than epsilon.

    Raises:
        VerificationError: the trace is no reference: its recording stopped, or it has no frames.
        UsageError: ``epsilon`` is out of range.

    """
    _check_reference(against)
    limit = against.info.epsilon if epsilon is None else epsilon
    if not 0.0 <= limit < 0.25:
        raise UsageError(f"epsilon is {limit}, expected a number from 0 to below 0.25")
    trace = record_trace(
        against.stream,
        engine,
        bundle=bundle,
        full_every=against.info.full_every,
        limit=against.frames,
    )
    comparison = compare_traces(against, trace)
    checks = [_symbols_check(against, trace)]
    for name, drift in comparison.latents().items():
        checks.append(
            Check(
                f"drift of {name}",
                drift.max_difference <= limit,
                f"largest difference {drift.max_difference:.3g}, epsilon {limit:.3g}",
            )
        )
    return Certificate(
        str(engine.info.spec), against.info.engine["spec"], limit, comparison, checks
    )


def _check_reference(trace: Trace) -> None:
    """Refuse a trace that nothing, or too little, could be compared with."""
    engine = trace.info.engine["spec"]
    if trace.info.error is not None:
        raise VerificationError(
            f"the trace of {engine} stopped after {trace.frames} frames ({trace.info.error}), "
            "expected a whole one; record it on an engine that decodes the stream"
        )
    if trace.frames == 0:
        raise VerificationError(
            f"the trace of {engine} holds 0 frames, expected at least one; record it from a "
            "stream that has some"
        )


def _symbols_check(reference: Trace, trace: Trace) -> Check:
    if trace.info.error is not None:
        return Check("symbols", False, trace.info.error)
    pairs = zip(reference.info.frame_digests, trace.info.frame_digests, strict=False)
    for number, (expected, found) in enumerate(pairs):
        if expected != found:
            return Check(
                "symbols", False, f"frame {number}: digest {found:#010x}, not {expected:#010x}"
            )
    if trace.frames != reference.frames:
        return Check("symbols", False, f"{trace.frames} of {reference.frames} frames decoded")
    return Check("symbols", True, f"{trace.frames} frames, every digest equal")
