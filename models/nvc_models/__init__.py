"""PyTorch models of the codec families, their losses and their training."""

from nvc_models.graph import CodecGraph, CodecGraphs, TensorShape

__all__ = ["CodecGraph", "CodecGraphs", "TensorShape"]
