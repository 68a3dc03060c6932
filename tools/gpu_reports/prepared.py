"""Streams made beforehand, so that a machine with a GPU but without a video library can decode.

A folder holds ``NAME.nvc``, in most cases the same frames without calibration as
``NAME-none.nvc``, and ``prepared.json`` with an entry for each NAME.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from nvc_calib import PositionCoder
from nvc_engines import Engine
from nvc_errors import UsageError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Encoder, EncoderSettings
from nvc_runtime.codec.reports import SymbolsDigest
from nvc_runtime.stream import StreamReader, StreamWriter
from nvc_runtime.video import Frame, VideoInfo, open_reader

INDEX = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """One clip coded by one bundle. ``keyint``: frames from one intra frame to the next, 0: one.

    ``symbols_digest`` is the encoder's, of the calibrated stream.
    """

    name: str
    bundle: str
    bundle_digest: str
    clip: str
    width: int
    height: int
    frames: int
    keyint: int
    epsilon: float
    size_bytes: int
    bits_per_pixel: float
    psnr_rgb_db: float
    symbols_digest: str
    encoded_on: str

    def stream(self, folder: Path, *, calibrated: bool = True) -> bytes:
        """Read the stream."""
        return (folder / f"{self.name}{'' if calibrated else '-none'}.nvc").read_bytes()

    def has_uncalibrated(self, folder: Path) -> bool:
        """Tell whether the stream is there without calibration, too."""
        return (folder / f"{self.name}-none.nvc").exists()


def load_prepared(folder: Path) -> list[Prepared]:
    """Read a folder's index. Raises ``UsageError`` if there is none."""
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [Prepared(**entry) for entry in entries]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{folder} holds no prepared streams: {error}") from error


def prepare_stream(
    folder: Path,
    name: str,
    bundle: Bundle,
    engine: Engine,
    clip: Path,
    *,
    frames: int,
    settings: EncoderSettings,
    size: tuple[int, int] | None = None,
    uncalibrated: bool = True,
    times: int = 1,
) -> Prepared:
    """Encode a clip with calibration and, if wished, without, and add it to a folder.

    ``size`` (width, height) scales the pictures, each sample to the nearest of the source.
    ``times``: how often the packets follow each other, for a longer stream.
    """
    folder.mkdir(parents=True, exist_ok=True)
    coders = {"": settings.calibration}
    if uncalibrated:
        coders["-none"] = PositionCoder.NONE
    reports, digests = {}, {}
    for suffix, coder in coders.items():
        encoder = Encoder(bundle, engine, replace(settings, calibration=coder))
        file = io.BytesIO()
        with open_reader(clip, limit=frames) as reader:
            info = reader.info if size is None else replace_size(reader.info, size)
            reports[suffix] = encoder.encode(scaled(reader, info), info, file)
        repeated, digest = repeat_stream(file.getvalue(), times)
        (folder / f"{name}{suffix}.nvc").write_bytes(repeated)
        digests[suffix] = digest
    report, used = reports[""], engine.info
    prepared = Prepared(
        name=name,
        bundle=bundle.name,
        bundle_digest=bundle.digest.hex(),
        clip=clip.name,
        width=report.width,
        height=report.height,
        frames=times * report.frames,
        keyint=encoder.keyint,
        epsilon=encoder.epsilon,
        size_bytes=(folder / f"{name}.nvc").stat().st_size,
        bits_per_pixel=round(report.bits_per_pixel, 6),
        psnr_rgb_db=round(report.psnr_rgb_db, 4),
        symbols_digest=digests[""],
        encoded_on=f"{used.spec} ({used.backend_version}, {used.device_name})",
    )
    known = load_prepared(folder) if (folder / INDEX).exists() else []
    entries = [asdict(p) for p in known if p.name != name] + [asdict(prepared)]
    (folder / INDEX).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return prepared


def repeat_stream(stream: bytes, times: int) -> tuple[bytes, str]:
    """Return a stream whose packets follow each other so often, and its symbols digest."""
    reader = StreamReader(io.BytesIO(stream))
    packets = list(reader)
    file, digest = io.BytesIO(), SymbolsDigest()
    with StreamWriter(file, reader.header) as writer:
        for _ in range(times):
            for packet in packets:
                writer.write(replace(packet, frame_number=writer.frame_count))
                digest.add(packet.digest)
    return file.getvalue(), digest.hexdigest()


def replace_size(info: VideoInfo, size: tuple[int, int]) -> VideoInfo:
    """Return the description of the same video at another size."""
    return replace(info, width=size[0], height=size[1])


def scaled(frames: Iterable[Frame], info: VideoInfo) -> Iterator[Frame]:
    """Give frames of the size that ``info`` says."""
    for frame in frames:
        if frame.shape == info.shape:
            yield frame
            continue
        rows = np.arange(info.height) * frame.shape[0] // info.height
        columns = np.arange(info.width) * frame.shape[1] // info.width
        yield np.ascontiguousarray(frame[rows][:, columns])
