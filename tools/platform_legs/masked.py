"""Legs that run ONNX Runtime on a CPU that claims to be an older one.

ONNX Runtime chooses its kernels by the ``cpuid`` instruction. In a private copy of its library
every ``cpuid`` is replaced by ``ud2``, an instruction of the same length that raises SIGILL; a
preloaded handler (``cpuid_mask.c``) executes ``cpuid`` instead, clears feature bits, and goes on
behind the instruction. The kernels, and so the results, are those of the older CPU.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import struct
import sys
from pathlib import Path

from nvc_engines import Engine
from nvc_errors import EngineUnavailableError
from platform_legs.cache import Cache, install_wheels, require_tools, run_tool
from platform_legs.leg import Leg
from platform_legs.remote import RemoteEngine, python_worker, worker_path

_SPEC = "ort:cpu,threads=1"
_SOURCE = Path(__file__).with_name("cpuid_mask.c")
_CPU_INFO = Path("/proc/cpuinfo")
_CPUID, _UD2 = b"\x0f\xa2", b"\x0f\x0b"

_FMA = 1 << 12
_AFTER_SSE2 = sum(1 << bit for bit in (0, 1, 9, 12, 19, 20, 22, 23, 25, 26, 27, 28, 29, 30))
_ALL = 0xFFFFFFFF

_AVX512 = sum(1 << bit for bit in (16, 17, 21, 26, 27, 28, 30, 31))

MASKS = {
    "ort-avx2": f"7.b.{_AVX512:x},7.c.{_ALL:x},7.d.{_ALL:x}",
    "ort-nofma": f"1.c.{_FMA:x}",
    "ort-sse2": f"1.c.{_AFTER_SSE2:x},7.b.{_ALL:x},7.c.{_ALL:x},7.d.{_ALL:x}",
}
"""Leg -> feature bits to clear: ``leaf.register.bits``, hexadecimal, separated by commas."""


def masked_legs() -> list[Leg]:
    """Return the legs under a CPUID mask."""
    return [
        _leg("ort-avx2", "ONNX Runtime on an AVX2 CPU (CPUID mask)", 1.2),
        _leg("ort-nofma", "ONNX Runtime on an AVX2 CPU without FMA (CPUID mask)", 1.3),
        _leg("ort-sse2", "ONNX Runtime on an SSE2 CPU (CPUID mask)", 3.0),
    ]


def _leg(name: str, title: str, cost: float) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        if platform.machine() != "x86_64" or sys.platform != "linux":
            raise EngineUnavailableError(
                f"needs Linux on x86-64, this is {sys.platform} on {platform.machine()}"
            )
        if name == "ort-avx2" and "avx512f" not in _CPU_INFO.read_text(encoding="utf-8"):
            raise EngineUnavailableError("this CPU has no AVX-512: it would be the native leg")
        version = importlib.metadata.version("onnxruntime")
        folder = cache.folder(f"masked-ort-{version}-py{sys.version_info.minor}", _fill)
        env = {
            "LD_PRELOAD": str(folder / "cpuid_mask.so"),
            "NVC_CPUID_CLEAR": MASKS[name],
            "PYTHONPATH": worker_path(folder / "site"),
        }
        return RemoteEngine(
            python_worker(_SPEC), spec=_SPEC, env=env, flags={"cpuid_clear": MASKS[name]}
        )

    return Leg(name, title, cost, open_leg)


def _fill(folder: Path) -> None:
    require_tools("gcc", "objdump")
    version = importlib.metadata.version("onnxruntime")
    install_wheels(folder / "site", [f"onnxruntime=={version}"])
    libraries = list((folder / "site").glob("onnxruntime/capi/*pybind11_state*.so"))
    if len(libraries) != 1:
        raise EngineUnavailableError(
            f"onnxruntime {version}: found {len(libraries)} extension modules, expected 1"
        )
    patch_cpuid(libraries[0])
    output = folder / "cpuid_mask.so"
    run_tool(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", output, _SOURCE])


def patch_cpuid(library: Path) -> int:
    """Replace every ``cpuid`` of an x86-64 ELF file by ``ud2``; return how many there were.

    Raises ``EngineUnavailableError`` if there is none: the leg would be the native one.
    """
    listing = run_tool(["objdump", "--disassemble", "--no-show-raw-insn", library])
    addresses = [int(a, 16) for a in re.findall(r"^\s*([0-9a-f]+):\s+cpuid\s*$", listing, re.M)]
    if not addresses:
        raise EngineUnavailableError(f"{library.name} holds no cpuid instruction to mask")
    data = bytearray(library.read_bytes())
    segments = _segments(data)
    for address in addresses:
        at = next((o + address - v for v, o, size in segments if v <= address < v + size), -1)
        if data[at : at + 2] != _CPUID:
            raise EngineUnavailableError(f"{library.name}: no cpuid at address {address:#x}")
        data[at : at + 2] = _UD2
    library.write_bytes(data)
    return len(addresses)


def _segments(data: bytes | bytearray) -> list[tuple[int, int, int]]:
    """Return (virtual address, file offset, size) of the loaded segments of an ELF64 file."""
    (table,) = struct.unpack_from("<Q", data, 32)
    entry_size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for number in range(count):
        kind, _, offset, address, _, size = struct.unpack_from(
            "<IIQQQQ", data, table + number * entry_size
        )
        if kind == 1:
            found.append((address, offset, size))
    return found
