"""Legs on another architecture: aarch64 wheels under qemu's user-mode emulation.

qemu runs single programs, so all that is needed is a folder with an aarch64 Python and its
libraries. They come from Debian packages, fetched by apt with a state of its own and unpacked
without installing anything; the wheels come from the package index. qemu must be version 10 or
later: 7.2 crashes while ONNX Runtime is imported.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from nvc_engines import Engine
from nvc_errors import EngineUnavailableError
from platform_legs.cache import Cache, install_wheels, require_tools, run_tool
from platform_legs.leg import Leg
from platform_legs.remote import RemoteEngine, worker_path

_RELEASE = "bookworm"
_PYTHON = "3.11"
_GLIBC_MINORS = range(17, 37)
_MIN_QEMU = 10
_CPU = "cortex-a57"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ROOT_PACKAGES = (
    *(f"python{_PYTHON}-minimal", f"libpython{_PYTHON}-minimal", f"libpython{_PYTHON}-stdlib"),
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libbz2-1.0", "liblzma5", "libffi8"),
    *("libexpat1", "libssl3", "libuuid1"),
)


def emulated_legs() -> list[Leg]:
    """Return the aarch64 legs."""
    return [
        _leg(
            "arm-ort", "onnxruntime", "ort:cpu,threads=1", "ONNX Runtime on aarch64 (qemu)", 300.0
        ),
        _leg(
            "arm-openvino",
            "openvino",
            "openvino:cpu,threads=1",
            "OpenVINO on aarch64 (qemu)",
            160.0,
        ),
    ]


def _leg(name: str, package: str, spec: str, title: str, cost: float) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise EngineUnavailableError(
                f"needs Linux on x86-64, this is {sys.platform} on {platform.machine()}"
            )
        system = cache.folder(f"aarch64-{_RELEASE}", _fill_system)
        version = _host_version(package)
        site = cache.folder(
            f"aarch64-{package}-{version}-py{_PYTHON}",
            lambda folder: _fill_site(folder, f"{package}=={version}"),
        )
        root = system / "root"
        command: list[str | os.PathLike[str]] = [
            *(system / "qemu-aarch64", "-cpu", _CPU, "-L", root),
            *("-E", f"PYTHONPATH={worker_path(site)}", "-E", "PYTHONDONTWRITEBYTECODE=1"),
            *(root / "usr" / "bin" / f"python{_PYTHON}", "-S", "-m", "platform_legs.worker", spec),
        ]
        qemu = run_tool([system / "qemu-aarch64", "--version"]).split()[2]
        return RemoteEngine(command, spec=spec, flags={"qemu": qemu, "cpu": _CPU})

    return Leg(name, title, cost, open_leg)


def _host_version(package: str) -> str:
    """Return the version of an engine's package here: the leg is to differ in its CPU alone."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineUnavailableError(
            f"needs {package} installed here, whose version it takes; pip install {package}"
        ) from error


def _fill_site(folder: Path, package: str) -> None:
    """Install an engine. numpy only carries tensors: any version serves."""
    tags = [f"manylinux_2_{minor}_aarch64" for minor in _GLIBC_MINORS] + ["manylinux2014_aarch64"]
    options = [option for tag in tags for option in ("--platform", tag)]
    options += ["--implementation", "cp", "--python-version", _PYTHON]
    install_wheels(folder, ["numpy", package], *options)


def _fill_system(folder: Path) -> None:
    require_tools("apt-get", "apt-cache", "dpkg-deb")
    state = folder / "apt"
    env = {"APT_CONFIG": str(_write_apt_state(state))}
    run_tool(["apt-get", "update"], env=env)
    packages = folder / "packages"
    packages.mkdir()
    wanted = [f"{name}:arm64" for name in _ROOT_PACKAGES]
    run_tool(["apt-get", "download", _qemu_package(env), *wanted], cwd=packages, env=env)
    for package in sorted(packages.glob("*_arm64.deb")):
        run_tool(["dpkg-deb", "--extract", package, folder / "root"])
    for package in packages.glob("qemu-user*.deb"):
        run_tool(["dpkg-deb", "--extract", package, folder / "host"])
    program = next((folder / "host" / "usr" / "bin").glob("qemu-aarch64*"))
    program.rename(folder / "qemu-aarch64")
    for leftover in (state, packages, folder / "host"):
        shutil.rmtree(leftover)


def _write_apt_state(state: Path) -> Path:
    """Write a configuration for apt that knows the system's Debian archive, and return it."""
    archive = _debian_archive()
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    suites = (_RELEASE, f"{_RELEASE}-backports")
    sources = [f"deb [signed-by={_KEYRING}] {archive} {suite} main" for suite in suites]
    (state / "sources.list").write_text("\n".join(sources) + "\n", encoding="utf-8")
    (state / "apt.conf").write_text(
        f"""Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "-";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; "arm64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
""",
        encoding="utf-8",
    )
    return state / "apt.conf"


def _debian_archive() -> str:
    """Return the address of the archive that this Debian system is configured with."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    if system.get("ID") != "debian" or not _KEYRING.is_file():
        found = system.get("PRETTY_NAME", "unknown")
        raise EngineUnavailableError(
            f"needs a Debian system with its archive keyring, found {found}"
        )
    wanted = f" {system.get('VERSION_CODENAME')} main"
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = run_tool(["apt-get", "indextargets", "--format", form])
    for line in listed.splitlines():
        if line.endswith(wanted):
            return line.split()[0]
    raise EngineUnavailableError(f"apt knows no archive for{wanted}")


def _qemu_package(env: dict[str, str]) -> str:
    """Return ``qemu-user=VERSION`` for the first version that is new enough."""
    table = run_tool(["apt-cache", "madison", "qemu-user"], env=env)
    versions = [line.split("|")[1].strip() for line in table.splitlines() if line.count("|") >= 2]
    for version in versions:
        match = re.match(r"(?:\d+:)?(\d+)\.", version)
        if match and int(match[1]) >= _MIN_QEMU:
            return f"qemu-user={version}"
    raise EngineUnavailableError(
        f"needs qemu-user {_MIN_QEMU} or later; the archive has {', '.join(versions) or 'none'}"
    )
