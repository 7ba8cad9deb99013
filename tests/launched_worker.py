"""What a launcher starts in the tests: workers that meet again and again until they are told.

``python launched_worker.py`` launches two of itself. With ``like-windows`` every store that is
asked to use libuv fails, as where PyTorch is built without it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: Rounds until it is known how long one takes; the first may take a quarter of an hour.
_KNOWN = 30


def work() -> None:
    from sam3_angio.command import reporting
    from sam3_angio.detector.pulse import all_here, beating
    from sam3_angio.detector.workers import joined
    from sam3_angio.files import write_text

    with reporting(), joined(timeout_s=5):
        rounds = iter(lambda: time.sleep(0.05) or Path("end").exists(), True)
        for number, _ in enumerate(beating(rounds)):
            all_here()
            if number == _KNOWN:
                write_text(Path(f"working{os.environ['RANK']}"), str(os.getpid()))
        all_here()


def without_libuv() -> None:
    """Let stores fail that are made as they are on Linux."""
    import torch.distributed as dist
    from torch._C import _distributed_c10d
    from torch.distributed import rendezvous
    from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend

    class Store(_distributed_c10d.TCPStore):
        def __init__(self, *places: Any, use_libuv: bool = True, **options: Any) -> None:
            if use_libuv:
                raise RuntimeError("use_libuv was requested but PyTorch was built without libuv")
            super().__init__(*places, use_libuv=False, **options)

    for module in (_distributed_c10d, dist, rendezvous, c10d_rendezvous_backend):
        module.TCPStore = Store


if __name__ == "__main__":
    if "like-windows" in sys.argv:
        without_libuv()
    if "RANK" in os.environ:
        work()
    else:
        from sam3_angio.detector import launcher

        if "like-windows" in sys.argv:
            launcher.sys = SimpleNamespace(platform="win32", stderr=sys.stderr)
        launcher.launch([__file__, *sys.argv[1:]])
