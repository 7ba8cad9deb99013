"""What SAM 3's package needs of a machine, and how worker processes behave.

The ``sam3`` package takes a CUDA device for granted in a few places of its training code. Each
place is mended here and nowhere else, and only where no CUDA device exists: on a GPU with Triton
the package runs as it is, but for the choice of an attention kernel. None of the changes touches a
formula.

Conventions
-----------
``prepare`` is called once a process, before a model is built.
"""

from __future__ import annotations

import ctypes
import functools
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import psutil
import torch

from sam3_angio.detector import HAS_TRITON


def accelerator() -> str:
    """Return ``cuda`` where a CUDA device exists, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def prepare(threads: int) -> None:
    """Set threads, and mend what the ``sam3`` package assumes of the machine.

    Parameters
    ----------
    threads : int
        Threads of this process for one operation. Part of the result: sums are taken in another
        order with another number.
    """
    torch.set_num_threads(threads)
    if not torch.cuda.is_available() or not HAS_TRITON:
        _run_without_triton()
    if torch.cuda.is_available():
        # The package encodes text without cuDNN's attention; a backward pass that computes
        # activations again would take it where it comes first (Hopper), and stop at other shapes.
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        _run_without_cuda()


@functools.cache
def _run_without_triton() -> None:
    from sam3.train.loss import loss_fns

    # Triton compiles for a GPU only; the same formula exists in plain PyTorch behind a switch.
    loss_fns.sigmoid_focal_loss = functools.partial(loss_fns.sigmoid_focal_loss, triton=False)


@functools.cache
def _run_without_cuda() -> None:
    from sam3.train import trainer

    # The stock meter resets CUDA statistics after each step.
    trainer.MemMeter = NoMemoryMeter
    # The gather of sizes and bytes goes over CUDA tensors unless this is set.
    os.environ["MDETR_CPU_REDUCE"] = "1"
    # Page-locked memory exists only for a device to copy from.
    torch.Tensor.pin_memory = _unpinned  # type: ignore[method-assign, assignment]


def _unpinned(tensor: torch.Tensor, device: object = None) -> torch.Tensor:
    del device
    return tensor


class NoMemoryMeter:
    """Stands for the trainer's meter of CUDA memory where there is none."""

    def __init__(self, name: str, device: object, fmt: str = "") -> None:
        del device, fmt
        self.name = name
        self.val = 0.0

    def update(self, n: int = 1, reset_peak_usage: bool = True) -> None:
        """Measure nothing."""

    def __str__(self) -> str:
        return f"{self.name}: none"


def seed_everything(*parts: int) -> None:
    """Seed Python, NumPy and PyTorch from a tuple of numbers, such as (seed, rank, epoch).

    Seeding each epoch anew makes its random numbers a function of these numbers alone, so that a
    resumed training draws what an uninterrupted one would have drawn.
    """
    words = np.random.SeedSequence(parts).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]))
    torch.manual_seed(int(words[1]))


@contextmanager
def deterministic() -> Iterator[None]:
    """Ask PyTorch for algorithms that give equal bits on each run, also on one that is resumed.

    A scripted function, as in ``sam3``'s losses of boxes, would run as it is written in the first
    calls of a process and rewritten in later ones, with gradients that are rounded otherwise.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    # The backward pass of grid sampling on CUDA has no deterministic form: warn, do not stop.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Finds reads of memory that nobody wrote, by filling each new tensor: a tool for debugging.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        yield


def die_with_parent() -> None:
    """Let this process end when its launcher does, by whatever signal.

    Without it the workers of a killed launcher train on, and hold memory and the output folder.
    Linux does it itself; elsewhere a thread waits for the launcher's end.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # the launcher died before the call
            os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    """Wait until a process is gone, and end this one at once."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(parent).wait()
    os._exit(1)
