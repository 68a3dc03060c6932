"""Encoding and decoding with a bundle on an engine."""

from nvc_runtime.codec.decoder import Decoder
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.encoder import Encoder, EncoderSettings
from nvc_runtime.codec.packet_decoder import DecodedFrame, DecoderTap, PacketDecoder, PacketTask
from nvc_runtime.codec.packet_encoder import (
    EncodedFrame,
    EncodedPacket,
    PacketEncoder,
    SourceFrame,
)
from nvc_runtime.codec.reports import DecodeReport, EncodeReport

__all__ = [
    "DecodeReport",
    "DecodedFrame",
    "Decoder",
    "DecoderTap",
    "Elapsed",
    "EncodeReport",
    "EncodedFrame",
    "EncodedPacket",
    "Encoder",
    "EncoderSettings",
    "PacketDecoder",
    "PacketEncoder",
    "PacketTask",
    "SourceFrame",
]
