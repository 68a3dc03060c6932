"""Encoding and decoding with a bundle on an engine."""

from nvc_runtime.codec.decoder import DecodedFrame, Decoder, DecoderTap
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.encoder import EncodedFrame, Encoder, EncoderSettings
from nvc_runtime.codec.reports import DecodeReport, EncodeReport

__all__ = [
    "DecodeReport",
    "DecodedFrame",
    "Decoder",
    "DecoderTap",
    "Elapsed",
    "EncodeReport",
    "EncodedFrame",
    "Encoder",
    "EncoderSettings",
]
