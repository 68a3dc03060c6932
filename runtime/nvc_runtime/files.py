"""Streams and videos as files: what lies between the codec and the names a user gives.

Whatever can be refused is refused before the first frame: an output that exists, an output that
is the input. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from nvc_engines import Engine
from nvc_errors import StreamError, UsageError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import DecodedFrame, Decoder, DecodeReport, Encoder, EncodeReport
from nvc_runtime.codec.decoder import DecodePackets
from nvc_runtime.codec.encoder import EncodeFrames
from nvc_runtime.groups import (
    check_jobs,
    decoding_in_processes,
    encoding_in_processes,
    jobs_for,
)
from nvc_runtime.observer import Observer
from nvc_runtime.overlap import read_ahead, write_behind
from nvc_runtime.stream import read_index
from nvc_runtime.video import Frame, FrameReader, FrameWriter, VideoInfo, open_reader, open_writer
from nvc_runtime.video.target import FileTarget, StandardOutput

PIPE = "-"
"""Standard input or standard output."""
VIRTUAL_OUTPUTS = (PIPE, "null", "md5")
"""Video outputs that are no files; see ``open_writer``."""


def encode_file(
    source: str,
    destination: str,
    encoder: Encoder,
    *,
    skip: int = 0,
    limit: int | None = None,
    jobs: int | None = 1,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> EncodeReport:
    """Encode a video file or pipe to a stream file or pipe.

    Args:
        source: what ``open_reader`` opens.
        destination: a file, or "-" for standard output.
        encoder: bundle, engine and settings.
        skip: input frames to pass over first.
        limit: frames to encode at most; None for all.
        jobs: groups of pictures to encode side by side at most, see :mod:`nvc_runtime.groups`; None
            for as many as pay off. Where groups have no limit there is one job.
        overwrite: whether an existing file may be replaced.
        observer: is told of the progress.

    Raises:
        UsageError: the output exists, or is the input.
        VideoError: the input cannot be read.
        OutputError: the output cannot be written.
        EngineError: the engine failed.

    """
    if jobs is not None:
        check_jobs(jobs)
    check_stream_output(source, destination, overwrite=overwrite)
    if source == PIPE:
        check_standard_input()
    observer = observer or Observer()
    with (
        open_reader(source, skip=skip, limit=limit) as reader,
        create_stream(destination, overwrite=overwrite) as file,
        _frames(source, reader) as frames,
    ):
        used = jobs_for(jobs, encoder.engine, encoder.keyint, reader.info)
        observer.begin("encode", reader.info)
        try:
            with _encoding(encoder, reader.info, used) as encode:
                report = encoder.encode(
                    frames,
                    reader.info,
                    file,
                    on_frame=lambda frame: observer.advance(frame.size_bytes),
                    encode=encode,
                )
        finally:
            observer.end()
    return replace(report, jobs=used)


def decode_file(
    source: str,
    destination: str,
    engine: Engine,
    *,
    bundle: Bundle | None = None,
    start: int = 0,
    limit: int | None = None,
    resume_at_intra: bool = False,
    jobs: int | None = 1,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> DecodeReport:
    """Decode a stream file or pipe to a video.

    Args:
        source: a stream, or "-" for standard input.
        destination: what ``open_writer`` takes.
        engine: runs the graphs.
        bundle: None to find it by the digest in the stream.
        start: first frame to deliver.
        limit: frames to deliver at most; None for all.
        resume_at_intra: go on after damage; the caller must look at the report's ``damage``.
        jobs: groups of pictures to decode side by side at most, see :mod:`nvc_runtime.groups`; None
            for as many as pay off. Where groups have no limit there is one job.
        overwrite: whether an existing output may be replaced.
        observer: is told of the progress.

    Raises:
        UsageError: the output exists, is the input, or its name tells no format.
        StreamError: the stream is damaged; no file is left then.
        BundleError: the bundle is missing or another one.
        CalibrationError: the engine's drift exceeds the stream's epsilon.
        OutputError: the output cannot be written.
        EngineError: the engine failed.

    """
    if jobs is not None:
        check_jobs(jobs)
    check_video_output(source, destination, overwrite=overwrite)
    observer = observer or Observer()
    with open_stream(source) as file:
        decoder = Decoder(
            file, engine, bundle=bundle, start=start, limit=limit, resume_at_intra=resume_at_intra
        )
        info = replace(decoder.info, frame_count=frames_to_come(file, start, limit))
        used = jobs_for(jobs, engine, decoder.header.keyint, info)
        with open_writer(destination, info, overwrite=overwrite) as writer:
            for message in writer.notes:
                observer.note(message)
            observer.begin("decode", info)

            try:
                position = tell(file)
                with (
                    _decoding(decoder, used) as decode,
                    write_behind(partial(write_frame, writer)) as put,
                ):
                    for frame in decoder.frames(yuv=writer.takes_yuv, decode=decode):
                        with decoder.elapsed.measure("io"):
                            put(frame)
                        position, before = tell(file), position
                        observer.advance(max(0, position - before))
            finally:
                observer.end()
    return replace(decoder.report(), jobs=used)


def write_frame(writer: FrameWriter, frame: DecodedFrame) -> None:
    """Write those of a frame's samples that the writer takes best."""
    if writer.takes_yuv:
        writer.write_yuv(frame.yuv)
    else:
        writer.write(frame.rgb)


def _encoding(
    encoder: Encoder, info: VideoInfo, jobs: int
) -> AbstractContextManager[EncodeFrames | None]:
    return nullcontext() if jobs == 1 else encoding_in_processes(encoder, info, jobs)


def _decoding(decoder: Decoder, jobs: int) -> AbstractContextManager[DecodePackets | None]:
    return nullcontext() if jobs == 1 else decoding_in_processes(decoder, jobs)


def _frames(source: str, reader: FrameReader) -> AbstractContextManager[Iterable[Frame]]:
    """Read ahead in a file; frames of a pipe are taken when they are needed."""
    return read_ahead(reader) if Path(source).is_file() else nullcontext(reader)


@contextmanager
def open_stream(source: str) -> Iterator[BinaryIO]:
    """Open a stream for reading; "-" is standard input.

    Raises:
        StreamError: the file cannot be opened.
        UsageError: standard input is closed, or a terminal.

    """
    if source == PIPE:
        check_standard_input()
        yield sys.stdin.buffer
        return
    if Path(source).is_dir():
        raise StreamError(f"{source}: is a folder, expected a stream")
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below; errors in the block are not ours
    except OSError as error:
        raise StreamError(f"{source}: cannot be opened: {error.strerror}") from None
    with file:
        yield file


@contextmanager
def create_stream(destination: str, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Create a file that appears when the block ends well; "-" is standard output.

    Raises:
        UsageError: the file exists and may not be overwritten, or standard output is a terminal.
        OutputError: the folder is missing or cannot be written.

    """
    if destination == PIPE:
        output = StandardOutput()
        try:
            yield cast(BinaryIO, _PipeFile(output))
        finally:
            output.close()
        return
    target = FileTarget(Path(destination), overwrite=overwrite)
    try:
        yield target.file
        target.commit()
    except BaseException:
        target.discard()
        raise


class _PipeFile(io.RawIOBase):
    """Standard output with the ``write`` of a file."""

    def __init__(self, output: StandardOutput) -> None:
        super().__init__()
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._output.write(data)
        return len(data)


def check_stream_output(source: str, destination: str, *, overwrite: bool) -> None:
    """Raise ``UsageError`` if a stream may not be written to ``destination``."""
    if destination == PIPE:
        _check_standard_output()
        return
    path = Path(destination)
    _check_not_input(source, path)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; expected the name of a file, such as out.nvc")
    _check_existing(path, overwrite=overwrite)


def check_video_output(source: str, destination: str, *, overwrite: bool) -> None:
    """Raise ``UsageError`` if a video may not be written to ``destination``.

    What is in a folder is left for ``open_writer`` to judge.
    """
    if destination in VIRTUAL_OUTPUTS:
        if destination != "null":
            _check_standard_output()
        return
    path = Path(destination)
    _check_not_input(source, path)
    if not path.is_dir():
        _check_existing(path, overwrite=overwrite)


def check_standard_input() -> None:
    """Raise ``UsageError`` if there is nothing to be read from standard input."""
    if sys.stdin is None:  # So Python does if the process was started without one.
        raise UsageError("standard input is closed; send data to it, or name a file with -i")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; send data to it, or name a file with -i")


def _check_standard_output() -> None:
    if sys.stdout is None:
        raise UsageError("standard output is closed; send it to a file or pipe")


def _check_not_input(source: str, path: Path) -> None:
    try:
        same = source != PIPE and path.samefile(source)
    except OSError:
        return  # One of them does not exist; whoever opens the input reports that.
    if same:
        raise UsageError(f"{path}: is the input, too; choose another output")


def _check_existing(path: Path, *, overwrite: bool) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        # Renaming a file over a device or a pipe would replace it.
        raise UsageError(f"{path}: is no regular file; use - for a pipe")
    if not overwrite:
        raise UsageError(f"{path}: exists; use -y to overwrite it")


def frames_to_come(file: BinaryIO, start: int, limit: int | None) -> int | None:
    """How many frames decoding will give, for a progress bar; None if only the end will tell."""
    if not file.seekable():
        return None
    position = tell(file)
    file.seek(0)
    try:
        total = max(0, read_index(file).frame_count - start)
    except StreamError:
        return None
    finally:
        file.seek(position)
    return total if limit is None else min(total, limit)


def tell(file: BinaryIO) -> int:
    """Position in a file; 0 for a pipe."""
    return file.tell() if file.seekable() else 0
