"""The store in which workers meet, on systems whose PyTorch is built without libuv."""

from __future__ import annotations

from typing import Any

from torch._C._distributed_c10d import TCPStore


class StoreWithoutLibuv(TCPStore):
    """PyTorch's store by TCP, never by libuv, which it asks for where nothing is said."""

    def __init__(self, *places: Any, **options: Any) -> None:
        super().__init__(*places, **{**options, "use_libuv": False})
