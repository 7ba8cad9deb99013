"""What workers on several machines have in common though they share no disk.

Values, and files of the first worker, are brought to all. On one machine, and where machines share
the folder, nothing is copied.

Conventions
-----------
What is sent goes through the main memory, in pieces; who waits does so as long as the others are
heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from sam3_angio.detector.pulse import all_here
from sam3_angio.detector.workers import (
    first_worker_does,
    is_first_here,
    machine_count,
    patient_group,
)
from sam3_angio.errors import ConfigError
from sam3_angio.files import replacing, sha256

_PIECE_BYTES = 1 << 26


def told_by_first(work: Callable[[], Any]) -> Any:
    """Let the first worker find something out; return it on all workers.

    Parameters
    ----------
    work : callable
        Returns what JSON can hold.

    Raises
    ------
    SystemExit
        On the other workers, if it failed.
    """
    found = first_worker_does(work)
    text = json.dumps(found).encode() if dist.get_rank() == 0 else b""
    size = torch.tensor(len(text))
    _from_first(size)
    content = _tensor(text) if text else torch.empty(int(size), dtype=torch.uint8)
    _from_first(content)
    return json.loads(_bytes(content))


def require_alike(mine: dict[str, Any]) -> None:
    """Compare what a training depends on with that of the first worker.

    Parameters
    ----------
    mine : dict
        By name; dictionaries are compared name by name.

    Raises
    ------
    ConfigError
        With what differs, on the workers where it does.
    """
    told = told_by_first(lambda: mine)
    here, first = _flat(json.loads(json.dumps(mine))), _flat(told)
    differing = sorted(n for n in here.keys() | first.keys() if here.get(n) != first.get(n))
    if differing:
        raise ConfigError(
            "This machine would train something else than the first one; these differ: "
            f"{', '.join(differing)}. Bring commit, params.yaml, packages, dataset/ and weights to "
            "the same state on both."
        )


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        below = _flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
        flat.update(below)
    return flat


def on_every_machine(path: Path) -> None:
    """Bring a file of the first worker to the machines that lack it or have another one.

    Where the first worker has none, the others' is removed: what is left of another training must
    not be taken for this one's.
    """
    if machine_count() == 1:
        return
    wanted = told_by_first(lambda: sha256(path) if path.is_file() else None)
    own = sha256(path) if path.is_file() and is_first_here() else None
    lacks = is_first_here() and own != wanted
    lacking = torch.tensor(int(lacks))
    all_here()
    dist.all_reduce(lacking, group=patient_group())
    if int(lacking) and wanted is not None:
        _send(path, writes=lacks)
    elif lacks:
        path.unlink()
    all_here()


def _from_first(content: torch.Tensor) -> None:
    """Bring what the first worker has in a tensor to all."""
    all_here()
    dist.broadcast(content, src=0, group=patient_group())


def _send(path: Path, *, writes: bool) -> None:
    if dist.get_rank() == 0:
        _spread(path)
    elif writes:
        with replacing(path) as temporary, temporary.open("wb") as target:
            for piece in _received():
                target.write(piece)
    else:
        for _ in _received():
            pass


def _spread(path: Path) -> None:
    _from_first(torch.tensor(path.stat().st_size))
    with path.open("rb") as source:
        while piece := source.read(_PIECE_BYTES):
            _from_first(_tensor(piece))


def _received() -> Iterator[bytes]:
    left = torch.tensor(0)
    _from_first(left)
    rest = int(left)
    while rest:
        piece = torch.empty(min(rest, _PIECE_BYTES), dtype=torch.uint8)
        _from_first(piece)
        rest -= len(piece)
        yield _bytes(piece)


def collected(content: bytes) -> list[bytes]:
    """Bring some bytes of each worker to the first one.

    Returns
    -------
    list of bytes
        One a worker, in their order; empty on the other workers.
    """
    group, rank = patient_group(), dist.get_rank()
    all_here()
    sizes = [torch.tensor(0) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor(len(content)), group=group)
    if rank:
        if content:
            dist.send(_tensor(content), dst=0, group=group)
        return []
    parts = [content]
    for source, size in enumerate(sizes[1:], start=1):
        part = torch.empty(int(size), dtype=torch.uint8)
        if len(part):
            dist.recv(part, src=source, group=group)
        parts.append(_bytes(part))
    return parts


def in_all(values: torch.Tensor, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    """Reduce a tensor in the main memory over the workers, in place, whenever they come.

    Parameters
    ----------
    values : tensor
    operation : dist.ReduceOp
    """
    all_here()
    dist.all_reduce(values, operation, group=patient_group())


def _tensor(content: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())


def _bytes(content: torch.Tensor) -> bytes:
    return content.numpy().tobytes()
