"""Standard input that a signal always interrupts.

Python handles a signal between two instructions. One that arrives after the last of them and before
the system call that waits for input, or on another thread than the waiting one, is not noticed
until there is input, and from a stalled pipe none may ever come. So input is waited for together
with a descriptor that signals write to.
"""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import stat
import sys
from typing import Any

_BUFFER_BYTES = 1 << 16


class _InterruptibleInput(io.RawIOBase):
    """Reads a descriptor, once there is something to read or a signal to handle."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            woken = self._woken.fileno()
            ready, _, _ = select.select([self._descriptor, woken], [], [])
            # A signal's handler has run by now; one that returned leaves its byte to be cleared.
            if woken in ready:
                self._woken.recv(_BUFFER_BYTES)
            if self._descriptor in ready:
                return os.readv(self._descriptor, [buffer])


def make_standard_input_interruptible() -> None:
    """Replace ``sys.stdin`` if it may stall: a pipe or a socket. For the main thread."""
    if os.name != "posix" or sys.stdin is None:
        return
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raw = _InterruptibleInput(sys.stdin.fileno())
        sys.stdin = io.TextIOWrapper(io.BufferedReader(raw, _BUFFER_BYTES))
