"""Drift between engines: record, compare, certify."""

from nvc_runtime.drift.certification import Certificate, Check, certify
from nvc_runtime.drift.comparison import Comparison, FrameDrift, compare_traces
from nvc_runtime.drift.junit import junit_from_certificates
from nvc_runtime.drift.trace import Trace, TraceInfo, load_trace, read_stream, record_trace

__all__ = [
    "Certificate",
    "Check",
    "Comparison",
    "FrameDrift",
    "Trace",
    "TraceInfo",
    "certify",
    "compare_traces",
    "junit_from_certificates",
    "load_trace",
    "read_stream",
    "record_trace",
]
