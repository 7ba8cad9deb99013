"""A stage's script on a machine that lacks what Windows lacks: no fork, no NCCL, no Triton.

``python windows_like.py stages.train_phase1 --dataset …``. What cannot be taken away is how a
path looks, and ``sys.platform``, on which the standard library itself decides.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys

sys.modules["triton"] = None  # importing it fails
for name in ("fork", "forkpty", "register_at_fork"):
    if hasattr(os, name) and name != "register_at_fork":  # PyTorch asks for it where it exists
        delattr(os, name)
for name in ("SIGALRM", "ITIMER_REAL", "setitimer", "alarm"):
    delattr(signal, name)

import torch.distributed as dist  # noqa: E402

dist.is_nccl_available = lambda: False

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
