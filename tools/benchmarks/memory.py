"""Peak resident memory of a decoder, measured in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from nvc_engines import open_engine
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder

WORKER_FLAG = "--rss-worker"


def peak_rss_bytes() -> int:
    """Peak resident set of this process.

    From VmHWM where there is one: what getrusage() calls the peak of a new process includes that
    of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def rss_of_decoding(script: Path, stream: bytes, bundle: Path, engine: str) -> dict[str, int]:
    """Decode a stream in a fresh process; frames are dropped.

    Returns bytes: ``start`` once modules are imported and bundle and engine are open, ``peak`` at
    the end, and ``frames`` decoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.nvc"
        path.write_bytes(stream)
        command = [sys.executable, str(script), WORKER_FLAG, str(path), str(bundle), engine]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, int] = json.loads(result.stdout)
    return found


def run_worker(stream: str, bundle: str, engine_name: str) -> None:
    """Do in the fresh process what `rss_of_decoding` asks for."""
    with open_engine(engine_name) as engine, Path(stream).open("rb") as file:
        decoder = Decoder(file, engine, bundle=Bundle(Path(bundle)))
        start = peak_rss_bytes()
        frames = sum(1 for _ in decoder)
    print(json.dumps({"start": start, "peak": peak_rss_bytes(), "frames": frames}))
