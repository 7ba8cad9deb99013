"""What this machine has: the facts that decide whether a training can run on it.

Conventions
-----------
Nothing personal is read: no host, user or folder name. Sizes are in bytes. A fact that a system
does not offer is None.
"""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

from sam3_angio.detector import HAS_TRITON

#: Packages whose versions decide what a training does.
PACKAGES = ("torch", "torchvision", "sam3", "triton", "numpy", "opencv-python-headless", "dvc")
_SHARED_MEMORY = Path("/dev/shm")
_PATIENCE_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU that this process may use.

    Attributes
    ----------
    name : str
    total_bytes : int
    used_bytes : int or None
        By all processes.
    """

    name: str
    total_bytes: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a training needs to know of the machine.

    Attributes
    ----------
    system : str
        Operating system and processor, such as ``Linux x86_64``.
    python : str
        Version.
    packages : dict of str
        Version of each of :data:`PACKAGES` that is installed.
    commit : str or None
        Of this project's working tree; with a plus sign if files were changed since.
    cores : int
        That this process may use.
    memory_bytes : int
        Of the machine, free or easily freed.
    disk_bytes : int
        Free where trainings work.
    shared_bytes : int or None
        Free in the shared memory that the processes which prepare batches hand them over in.
    gpus : tuple of Gpu
    cuda : str or None
        Version that PyTorch was built for.
    nccl, gloo, triton : bool
        Whether they are there.
    """

    system: str
    python: str
    packages: dict[str, str]
    commit: str | None
    cores: int
    memory_bytes: int
    disk_bytes: int
    shared_bytes: int | None
    gpus: tuple[Gpu, ...]
    cuda: str | None
    nccl: bool
    gloo: bool
    triton: bool


def this_machine(work: Path) -> Machine:
    """Look at the machine that this process runs on.

    Parameters
    ----------
    work : Path
        Folder in which trainings work; need not exist.
    """
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=dict(_versions()),
        commit=_commit(),
        cores=_cores(),
        memory_bytes=psutil.virtual_memory().available,
        disk_bytes=shutil.disk_usage(_existing(work)).free,
        shared_bytes=_shared_bytes(),
        gpus=tuple(_gpus()),
        cuda=torch.version.cuda,
        nccl=dist.is_available() and dist.is_nccl_available(),
        gloo=dist.is_available() and dist.is_gloo_available(),
        triton=HAS_TRITON,
    )


def _shared_bytes() -> int | None:
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK):
        return shutil.disk_usage(_SHARED_MEMORY).free
    return 0 if sys.platform == "linux" else None  # other systems have it elsewhere


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # does not exist on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _existing(folder: Path) -> Path:
    """Return the folder, or the first one above it that exists."""
    whole = folder.resolve()
    return next(path for path in (whole, *whole.parents) if path.exists())


def _commit() -> str | None:
    revision = _said("git", "rev-parse", "--short=12", "HEAD")
    if revision is None:
        return None
    changed = _said("git", "status", "--porcelain", "--untracked-files=no")
    return f"{revision.strip()}+" if changed else revision.strip()


def _gpus() -> Iterator[Gpu]:
    """Yield the GPUs that PyTorch sees, without a context on any but the first.

    ``torch.cuda.mem_get_info`` would leave a context of some hundred megabytes on each.
    """
    used = dict(_used_bytes())
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        yield Gpu(
            name=card.name,
            total_bytes=card.total_memory,
            used_bytes=used.get(str(card.uuid)),
        )


def _used_bytes() -> Iterator[tuple[str, int]]:
    """Yield the identifier of each NVIDIA GPU and how much of its memory is used."""
    table = _said("nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits")
    for row in csv.reader((table or "").splitlines(), skipinitialspace=True):
        if len(row) == 2 and row[1].isdecimal():
            yield row[0].removeprefix("GPU-"), int(row[1]) << 20


def _said(*command: str) -> str | None:
    """Return what a command prints, or None if it is missing or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
