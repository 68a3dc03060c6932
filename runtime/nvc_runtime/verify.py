"""Decode one stream on several engines and compare, frame by frame.

The engines run in lock step: a frame is decoded by each of them before the next one, so memory
does not grow with the number of frames. A decoder checks each frame against the digests in the
stream; an engine whose symbols differ fails at that frame, and the others go on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nvc_engines import Engine
from nvc_errors import DamagedInputError, NvcError, StreamError, UsageError, VerificationError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import DecodedFrame, Decoder, Encoder, EncodeReport
from nvc_runtime.difference import PixelDifference
from nvc_runtime.files import encode_file, frames_to_come, open_stream
from nvc_runtime.observer import Observer
from nvc_runtime.stream import ExactMode, StreamHeader
from nvc_runtime.stream.header import MAGIC


@dataclass
class EngineResult:
    """How one engine decoded the stream.

    Attributes:
        engine: its name.
        frames: frames it decoded with the right symbols.
        symbols_digest: digest over these frames.
        first_difference: number of the first frame that went wrong; None if none did.
        problem: what went wrong there; empty if nothing did.
        pixels: its samples against those of the first engine; None for the first.
        decode_s: seconds in the decoder.

    """

    engine: str
    frames: int = 0
    symbols_digest: str = ""
    first_difference: int | None = None
    problem: str = ""
    pixels: PixelDifference | None = None
    decode_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "engine": self.engine,
            "frames": self.frames,
            "symbols_digest": self.symbols_digest,
            "symbols_equal": self.first_difference is None,
            "first_difference": self.first_difference,
            "problem": self.problem,
            "pixels": None if self.pixels is None else self.pixels.to_json(),
            "decode_s": round(self.decode_s, 6),
        }


@dataclass(frozen=True)
class VerifyReport:
    """Result of decoding one stream on several engines.

    Attributes:
        header: the stream's header.
        frames: frames that at least one engine decoded.
        engines: one result an engine, in the order asked for.
        encoded: how the stream was made, if it was made for the purpose.

    """

    header: StreamHeader
    frames: int
    engines: list[EngineResult]
    encoded: EncodeReport | None = None

    @property
    def symbols_equal(self) -> bool:
        """Whether every engine decoded the symbols that were encoded."""
        return all(result.first_difference is None for result in self.engines)

    @property
    def pixels_equal(self) -> bool:
        """Whether all decoded samples are the same, too."""
        return self.symbols_equal and not any(
            result.pixels.differing for result in self.engines if result.pixels is not None
        )

    @property
    def passed(self) -> bool:
        """Whether everything is the same that the stream promises to be."""
        exact_pixels = self.header.exact is ExactMode.PIXELS
        return self.pixels_equal if exact_pixels else self.symbols_equal

    def check(self) -> None:
        """Raise ``VerificationError`` that names the first frame that differs."""
        if self.passed:
            return
        failed = [r for r in self.engines if r.first_difference is not None]
        if not failed:
            raise VerificationError(
                "the stream promises exact pixels, but decoded samples differ between engines; "
                "this is a defect of the decoder, please report it"
            )
        first = min(failed, key=lambda result: result.first_difference or 0)
        raise VerificationError(
            f"{len(failed)} of {len(self.engines)} engines differ, first {first.engine} at frame "
            f"{first.first_difference}: {first.problem}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "passed": self.passed,
            "symbols_equal": self.symbols_equal,
            "pixels_equal": self.pixels_equal,
            "frames": self.frames,
            "exact": str(self.header.exact.value),
            "epsilon": self.header.epsilon,
            "encode": None if self.encoded is None else self.encoded.to_json(),
            "engines": [result.to_json() for result in self.engines],
        }


def split_engine_names(text: str) -> list[str]:
    """Split engine names at commas; a part with "=" is an option of the name before it.

    ``"ort:cpu,opt=basic,openvino:cpu"`` are two engines.

    Raises:
        UsageError: there is no name, or an option without one before it.

    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if "=" in part and names:
            names[-1] += f",{part}"
        elif part and "=" not in part:
            names.append(part)
        else:
            raise UsageError(
                f"engines: found {part!r} in {text!r}, expected names and their options, as in "
                "ort:cpu,openvino:cpu,threads=1"
            )
    return names


def is_stream(path: Path) -> bool:
    """Tell by its first bytes whether a file is a stream, not a video.

    Raises:
        DamagedInputError: the file cannot be read.

    """
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise DamagedInputError(f"{path}: cannot be opened: {error.strerror}") from None


def verify_stream(
    path: Path,
    engines: Sequence[Engine],
    *,
    bundle: Bundle | None = None,
    limit: int | None = None,
    observer: Observer | None = None,
) -> VerifyReport:
    """Decode a stream on each of ``engines``, which stay the caller's.

    An engine that disagrees is a result, not an exception: see ``VerifyReport.check``.

    Raises:
        UsageError: there is no engine.
        StreamError: the stream is damaged, so that no engine can decode it.
        BundleError: the bundle is missing or another one.
        EngineError: an engine failed.

    """
    if not engines:
        raise UsageError("no engine to verify with; name at least one")
    observer = observer or Observer()
    with ExitStack() as stack:
        legs = [
            _Leg(
                Decoder(
                    stack.enter_context(open_stream(str(path))), engine, bundle=bundle, limit=limit
                )
            )
            for engine in engines
        ]
        with open_stream(str(path)) as file:
            count = frames_to_come(file, 0, limit)
        decoder = legs[0].decoder
        observer.begin("verify", replace(decoder.info, frame_count=count))
        try:
            frames = _compare(legs, observer)
        finally:
            observer.end()
        return VerifyReport(decoder.header, frames, [leg.finish() for leg in legs])


def verify_video(
    path: Path,
    encoder: Encoder,
    engines: Sequence[Engine],
    *,
    skip: int = 0,
    limit: int | None = None,
    observer: Observer | None = None,
) -> VerifyReport:
    """Encode a video to a temporary stream, and decode that on each of ``engines``.

    Raises what ``encode_file`` and ``verify_stream`` do.
    """
    with tempfile.TemporaryDirectory(prefix="nvc-verify-") as folder:
        stream = Path(folder) / "verify.nvc"
        encoded = encode_file(
            str(path), str(stream), encoder, skip=skip, limit=limit, observer=observer
        )
        report = verify_stream(stream, engines, bundle=encoder.bundle, observer=observer)
    return replace(report, encoded=encoded)


class _Leg:
    """One engine's way through the stream."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.result = EngineResult(str(decoder.engine.info.spec))
        self.error: NvcError | None = None
        self._frames: Iterator[DecodedFrame] = iter(decoder)

    def next_frame(self) -> DecodedFrame | None:
        """Return the next frame; None after the last, and after a failure."""
        if self.error is not None:
            return None
        try:
            frame = next(self._frames, None)
        except (DamagedInputError, VerificationError) as error:
            self.error = error
            return None
        if frame is not None:
            self.result.frames += 1
        return frame

    def finish(self) -> EngineResult:
        """Sum up."""
        report = self.decoder.report()
        self.result.symbols_digest = report.symbols_digest
        elapsed = report.elapsed
        self.result.decode_s = (
            elapsed.transform_s + elapsed.entropy_s + elapsed.calibration_s + elapsed.io_s
        )
        if self.error is not None:
            self.result.first_difference = self.result.frames
            self.result.problem = str(self.error)
        return self.result


def _compare(legs: list[_Leg], observer: Observer) -> int:
    """Decode in lock step to the end; return how many frames there were."""
    first, *others = legs
    for leg in others:
        leg.result.pixels = PixelDifference()
    count = 0
    while True:
        reference = first.next_frame()
        frames = [leg.next_frame() for leg in others]
        if reference is None and all(frame is None for frame in frames):
            _raise_if_damaged(legs)
            return count
        count += 1
        observer.advance(0)
        for leg, frame in zip(others, frames, strict=True):
            if frame is not None and reference is not None and leg.result.pixels is not None:
                leg.result.pixels.add(reference.rgb, frame.rgb)


def _raise_if_damaged(legs: list[_Leg]) -> None:
    """Raise if all engines stopped at one frame because of the stream itself.

    Damage is the same for everyone. A ``StreamError`` that only some engines meet comes from
    symbols that were decoded wrongly.
    """
    errors = [leg.error for leg in legs]
    same_frame = len({leg.result.frames for leg in legs}) == 1
    if same_frame and all(isinstance(error, StreamError) for error in errors):
        error = errors[0]
        assert error is not None
        raise error
