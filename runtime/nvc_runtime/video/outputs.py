"""Opening an output: which writer fits a name."""

from __future__ import annotations

import os
from pathlib import Path

from nvc_errors import UsageError
from nvc_runtime.video import output_h264
from nvc_runtime.video.info import VideoInfo
from nvc_runtime.video.output_h264 import DEFAULT_CRF, H264Writer
from nvc_runtime.video.output_md5 import Md5Writer
from nvc_runtime.video.output_null import NullWriter
from nvc_runtime.video.output_png import PngWriter
from nvc_runtime.video.output_y4m import Y4mWriter
from nvc_runtime.video.writer import FrameWriter


def open_writer(
    path: str | Path, info: VideoInfo, *, overwrite: bool = False, crf: int = DEFAULT_CRF
) -> FrameWriter:
    """Open an output for the frames of a video.

    Args:
        path: "-" for Y4M on standard output; "null" for none; "md5" for hashes on standard
            output; a name that ends in "/" or an existing folder for PNG pictures; else a file,
            .y4m, .mp4 or .mkv. A file called null or md5 is written as ./null.y4m and so on.
        info: the video.
        overwrite: whether an existing output may be replaced.
        crf: x264's constant rate factor for .mp4 and .mkv, 0 (lossless) to 51.

    Raises:
        UsageError: the output exists, or its name does not tell a format.
        OutputError: the output cannot be written.
        VideoError: the output needs YUV and no conversion is known for ``info.color.matrix``.

    """
    name = str(path)
    if name == "-":
        return Y4mWriter(None, info, overwrite=overwrite)
    if name == "null":
        return NullWriter(info)
    if name == "md5":
        return Md5Writer(info)
    target = Path(path)
    if name.endswith(("/", os.sep)) or target.is_dir():
        return PngWriter(target, info, overwrite=overwrite)
    suffix = target.suffix.lower()
    if suffix == ".y4m":
        return Y4mWriter(target, info, overwrite=overwrite)
    if suffix in output_h264.SUFFIXES:
        return H264Writer(target, info, overwrite=overwrite, crf=crf)
    raise UsageError(
        f"{name}: its name does not tell a video format; expected .y4m, .mp4, .mkv, a folder "
        "(name/), -, null or md5"
    )
