"""Tensors that follow from shapes alone, made once a shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor

# The planes of position codes of seven clip sizes like 480 x 864, at 256 channels.
MAX_BYTES = 64 * 2**20
# Small tensors take a page of the allocator each, however few numbers they hold.
MAX_ENTRIES = 256


class ShapeCache:
    """Hold the tensors that were used last, up to a number of bytes and of entries.

    Threads may share one. What is traced, captured or faked is neither read from it nor kept: a
    compiler folds what it traces into its graph, and a CUDA graph outlives entries.

    Args:
        max_bytes: of all tensors together; a larger one is not kept.
        max_entries: of tensors.

    Example:
        >>> cache = ShapeCache()
        >>> ones = [cache.get(torch.ones, (2, 3), device=None, dtype=torch.float32) for _ in "ab"]
        >>> ones[0] is ones[1], len(cache)
        (True, 1)
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.num_bytes = 0
        self._entries: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(
        self,
        make: Callable[..., Tensor],
        *arguments: Hashable,
        device: torch.device | None,
        dtype: torch.dtype,
    ) -> Tensor:
        """Return ``make(*arguments, device=device, dtype=dtype)``, made now or before.

        Args:
            make: a function of the module level, whose result depends on its arguments alone.
            arguments: shapes and other plain values.
            device: of the result; None is torch's default device.
            dtype: of the result.

        Returns:
            A tensor that other callers have as well, hence not to be written to.
        """
        if torch.compiler.is_compiling():
            return make(*arguments, device=device, dtype=dtype)
        probe = torch.empty(0, device=device)
        if type(probe) is not Tensor or _is_capturing(probe.device):
            return make(*arguments, device=device, dtype=dtype)
        key = (make, arguments, probe.device, _stream(probe.device), dtype)
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
        with torch.inference_mode(False), torch.no_grad():
            made = make(*arguments, device=probe.device, dtype=dtype)
        self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: Tensor) -> None:
        with self._lock:
            if key in self._entries or made.nbytes > self.max_bytes:
                return
            self._entries[key] = made
            self.num_bytes += made.nbytes
            while self.num_bytes > self.max_bytes or len(self._entries) > self.max_entries:
                _, oldest = self._entries.popitem(last=False)
                self.num_bytes -= oldest.nbytes


SHARED = ShapeCache()
"""The cache of the modules of this package."""


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _stream(device: torch.device) -> int | None:
    # Memory that was freed on one stream may be used there while another still reads it.
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None
