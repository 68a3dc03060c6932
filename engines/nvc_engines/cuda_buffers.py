"""Device memory and a stream for engines that take raw addresses, borrowed from PyTorch.

PyTorch brings a caching allocator and a CUDA context; engines of compiled plans need nothing
else from it. Everything happens on one stream of our own, in order, so memory that torch
hands out again is never still in use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc_engines.checks import float32_array, reason_of
from nvc_engines.interface import Shape
from nvc_errors import EngineError, EngineUnavailableError


def on_host(tensor: Any) -> Any:
    """Copy a torch tensor of a GPU to page-locked memory, which it reaches several times as fast.

    torch keeps such memory for the next copy once nothing refers to it any more.
    """
    if not tensor.is_cuda:
        return tensor
    return tensor.new_empty(tensor.shape, device="cpu", pin_memory=True).copy_(tensor)


class CudaBuffers:
    """Float32 tensors on the current CUDA device."""

    def __init__(self) -> None:
        """Open the device. Raises ``EngineUnavailableError`` naming what is missing."""
        try:
            import torch
        except (ImportError, OSError) as error:
            raise EngineUnavailableError(
                "PyTorch, which holds the device buffers, cannot be imported "
                f"({reason_of(error)}): "
                'pip install "nvc[torch]"'
            ) from error
        if not torch.cuda.is_available():
            build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
            raise EngineUnavailableError(
                f"no CUDA device: PyTorch {torch.__version__} ({build}) finds none; it takes an "
                "NVIDIA GPU, its driver (check nvidia-smi) and a PyTorch built for CUDA"
            )
        self._torch: Any = torch
        try:
            self._torch.cuda.init()
            self._stream = self._torch.cuda.Stream()
            self.device_name = str(torch.cuda.get_device_name())
            self.capability: tuple[int, int] = torch.cuda.get_device_capability()
        except Exception as error:
            raise EngineUnavailableError(
                f"the CUDA device cannot be opened: {reason_of(error)}"
            ) from error

    @property
    def stream_handle(self) -> int:
        """The CUDA stream as the address that C interfaces take."""
        return int(self._stream.cuda_stream)

    def is_tensor(self, value: object) -> bool:
        """Tell whether ``value`` is a float32 tensor on a CUDA device, densely packed."""
        return (
            isinstance(value, self._torch.Tensor)
            and value.dtype == self._torch.float32
            and value.is_cuda
            and value.is_contiguous()
        )

    def empty(self, shape: Shape) -> Any:
        """Return a new tensor of ``shape`` with any content."""
        with self._torch.cuda.stream(self._stream):
            return self._torch.empty(shape, dtype=self._torch.float32, device="cuda")

    def upload(self, array: NDArray[np.float32]) -> Any:
        """Return ``array`` (float32) as a tensor on the device."""
        contiguous = float32_array(array)
        if not contiguous.flags.writeable:
            contiguous = contiguous.copy()
        with self._torch.cuda.stream(self._stream):
            return self._torch.from_numpy(contiguous).to("cuda")

    def download(self, tensor: Any) -> NDArray[np.float32]:
        """Return a tensor as a float32 array, once the stream has come to it."""
        if not self.is_tensor(tensor):
            raise EngineError(f"a {type(tensor).__name__} is no float32 tensor of this engine")
        with self._torch.cuda.stream(self._stream):
            return float32_array(on_host(tensor).numpy())

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        self._stream.synchronize()
