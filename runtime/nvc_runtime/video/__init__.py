"""Video in and out: frames of RGB samples from and to files, pipes and folders."""

from nvc_runtime.video.digest import frame_hash
from nvc_runtime.video.info import ColorSpace, Frame, VideoInfo
from nvc_runtime.video.inputs import open_reader
from nvc_runtime.video.outputs import open_writer
from nvc_runtime.video.reader import FrameReader
from nvc_runtime.video.writer import FrameWriter
from nvc_runtime.video.yuv import Planes

__all__ = [
    "ColorSpace",
    "Frame",
    "FrameReader",
    "FrameWriter",
    "Planes",
    "VideoInfo",
    "frame_hash",
    "open_reader",
    "open_writer",
]
