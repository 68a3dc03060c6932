"""Engine names as users write them: ``backend:device`` and options after commas.

``ort:cpu``, ``ort:cpu,opt=basic,threads=1``, ``torch:cuda``, ``tensorrt-rtx:rtx2080``.
A name says everything that changes results; what is not a user's choice (FP32, TF32 off)
is no option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from nvc_engines.gpus import GPUS, TENSORRT, TENSORRT_RTX, gpu_for_backend
from nvc_engines.suggestions import known_names_hint
from nvc_errors import UsageError

MAX_THREADS: Final = 1024


@dataclass(frozen=True)
class OptionRule:
    """What one option accepts: any of ``values``, or a thread count if there are none."""

    values: tuple[str, ...]
    help: str

    def accepts(self, value: str) -> bool:
        """Tell whether ``value`` is allowed, in its one canonical spelling."""
        if self.values:
            return value in self.values
        return re.fullmatch(r"[1-9][0-9]{0,3}", value) is not None and int(value) <= MAX_THREADS

    @property
    def expected(self) -> str:
        """The accepted values, for messages."""
        return " or ".join(self.values) if self.values else f"an integer from 1 to {MAX_THREADS}"


_THREADS: Final = OptionRule((), "threads one graph may use (default: the usable CPUs)")
_OPT: Final = OptionRule(
    ("all", "extended", "basic", "none"), "graph optimisation level (default: all)"
)
_CHANNELS_LAST: Final = OptionRule(("0", "1"), "keep tensors in NHWC order (default: 0)")
_CUDA_GRAPHS: Final = OptionRule(("0", "1"), "record each graph, and replay it (default: 1)")
_MKLDNN: Final = OptionRule(("0", "1"), "use oneDNN kernels (default: 1)")
_CACHE: Final = OptionRule(("0", "1"), "keep the kernel choice beside the plan (default: 1)")

GPU_DEVICE: Final = "<gpu>"
"""Stands in ``ENGINE_OPTIONS`` for any GPU of the table that the backend can target."""

ENGINE_OPTIONS: Final[Mapping[str, Mapping[str, Mapping[str, OptionRule]]]] = MappingProxyType(
    {
        "ort": {"cpu": {"opt": _OPT, "threads": _THREADS}, "cuda": {"opt": _OPT}},
        "openvino": {"cpu": {"threads": _THREADS}},
        "torch": {
            "cpu": {"threads": _THREADS, "channels_last": _CHANNELS_LAST, "mkldnn": _MKLDNN},
            "cuda": {"channels_last": _CHANNELS_LAST, "cuda_graphs": _CUDA_GRAPHS},
        },
        TENSORRT_RTX: {GPU_DEVICE: {"cache": _CACHE}},
        TENSORRT: {GPU_DEVICE: {}},
    }
)
"""backend -> device -> option name -> rule."""


def engine_names() -> list[str]:
    """Every ``backend:device``, with ``<gpu>`` standing for the GPU table."""
    return [
        f"{backend}:{device}" for backend, devices in ENGINE_OPTIONS.items() for device in devices
    ]


@dataclass(frozen=True)
class EngineSpec:
    """Which engine to open. ``str(spec)`` is the name that parses back to an equal spec.

    ``device`` is ``cpu``, ``cuda``, or for compiled engines the GPU's name; ``options`` is
    kept sorted and read-only. Raises ``UsageError`` for an unknown backend, device or
    option, or a value the option does not take.
    """

    backend: str
    device: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        devices = ENGINE_OPTIONS.get(self.backend)
        if devices is None:
            raise UsageError(
                f"unknown engine backend {self.backend!r}; "
                f"{known_names_hint(self.backend, ENGINE_OPTIONS)}"
            )
        rules = self._rules_of_device(devices)
        for name, value in self.options.items():
            if name not in rules:
                raise UsageError(
                    f"engine {self.backend}:{self.device} has no option {name!r}; "
                    f"{known_names_hint(name, rules)}"
                )
            if not rules[name].accepts(value):
                raise UsageError(
                    f"engine option {name}={value!r} is not possible: "
                    f"expected {rules[name].expected}"
                )
        object.__setattr__(self, "options", MappingProxyType(dict(sorted(self.options.items()))))

    def _rules_of_device(
        self, devices: Mapping[str, Mapping[str, OptionRule]]
    ) -> Mapping[str, OptionRule]:
        if GPU_DEVICE in devices:
            if not self.device:
                usable = [gpu.name for gpu in GPUS.values() if self.backend in gpu.backends]
                raise UsageError(
                    f"engine {self.backend!r} needs a GPU, as in {self.backend}:{usable[0]}; "
                    f"known: {', '.join(usable)}"
                )
            gpu = gpu_for_backend(self.device, self.backend)
            object.__setattr__(self, "device", gpu.name)
            return devices[GPU_DEVICE]
        rules = devices.get(self.device)
        if rules is None:
            raise UsageError(
                f"engine {self.backend!r} has no device {self.device!r}; "
                f"{known_names_hint(self.device, devices)} (write {self.backend}:device)"
            )
        return rules

    def __str__(self) -> str:
        options = "".join(f",{name}={value}" for name, value in self.options.items())
        return f"{self.backend}:{self.device}{options}"

    def __reduce__(self) -> tuple[type[EngineSpec], tuple[str, str, dict[str, str]]]:
        return EngineSpec, (self.backend, self.device, dict(self.options))


def parse_engine_spec(text: str) -> EngineSpec:
    """Return the spec written as ``backend:device[,option=value...]``.

    Raises ``UsageError`` for text of another form, an option given twice, and whatever
    ``EngineSpec`` rejects.
    """
    name, *parts = (part.strip() for part in text.split(","))
    backend, _, device = name.partition(":")
    options: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"engine option {part!r} in {text!r} is not of the form name=value, "
                "as in ort:cpu,threads=1"
            )
        if key in options:
            raise UsageError(f"engine option {key!r} is given twice in {text!r}; give it once")
        options[key] = value
    return EngineSpec(backend.strip(), device.strip(), options)
