"""Inference engines behind one interface. Importing this package imports no backend."""

from nvc_engines.gpus import GPUS, Gpu, gpu_for_backend, gpu_from_device, gpu_named
from nvc_engines.interface import Engine, EngineInfo, Graph, GraphSource, Shape, Tensor
from nvc_engines.registry import EngineProbe, open_engine, probe_engines
from nvc_engines.spec import ENGINE_OPTIONS, EngineSpec, engine_names, parse_engine_spec

__all__ = [
    "ENGINE_OPTIONS",
    "GPUS",
    "Engine",
    "EngineInfo",
    "EngineProbe",
    "EngineSpec",
    "Gpu",
    "Graph",
    "GraphSource",
    "Shape",
    "Tensor",
    "engine_names",
    "gpu_for_backend",
    "gpu_from_device",
    "gpu_named",
    "open_engine",
    "parse_engine_spec",
    "probe_engines",
]
