"""The stream container; its contract is ``docs/bitstream.md``."""

from nvc_runtime.stream.header import ExactMode, StreamHeader
from nvc_runtime.stream.index import IntraEntry, StreamIndex
from nvc_runtime.stream.packet import FrameKind, FramePacket, PacketSizes
from nvc_runtime.stream.reader import StreamReader, read_index
from nvc_runtime.stream.writer import StreamWriter

__all__ = [
    "ExactMode",
    "FrameKind",
    "FramePacket",
    "IntraEntry",
    "PacketSizes",
    "StreamHeader",
    "StreamIndex",
    "StreamReader",
    "StreamWriter",
    "read_index",
]
