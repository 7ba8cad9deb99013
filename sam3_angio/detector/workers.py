"""Worker processes under ``torchrun``: joining, agreeing, and ending together.

Started without ``torchrun`` a process is the only worker of its group.

Conventions
-----------
Worker 0 is the one that reads, locks, reports and publishes; the others wait for it. With several
machines it is on the first one, where the pipeline runs.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from torch._C._distributed_c10d import TCPStore
from torch.distributed import distributed_c10d

from sam3_angio.detector.pulse import SILENT_S, all_here, heard
from sam3_angio.detector.runtime import accelerator, die_with_parent
from sam3_angio.detector.stores import StoreWithoutLibuv
from sam3_angio.errors import AngioError, ConfigError

Result = TypeVar("Result")

_LOCK_PATIENCE_S = 10.0
#: Set by the launcher to ``first`` or ``other``, where there are several machines.
_MACHINE = "SAM3_ANGIO_MACHINE"
#: What a collective operation says when another worker is gone, or does not come.
_LOST = ("Timed out", "timed out", "Timeout", "Connection closed by peer", "Connection reset")


class _Groups:
    """Further groups of all workers.

    Attributes
    ----------
    patient
        For tensors in the main memory, among workers that have waited for each other: see
        :func:`~sam3_angio.detector.pulse.all_here`.
    counting
        Compares steps. Its exchanges pair up with each other only, whatever else is exchanged.
    """

    patient: Any = None
    counting: Any = None


@contextmanager
def joined(timeout_s: float) -> Iterator[None]:
    """Join the group of workers; leave it at the end.

    Parameters
    ----------
    timeout_s : float
        How long a worker waits for another one before it gives up. A worker that hangs takes the
        training down after this time.

    Raises
    ------
    AngioError
        Another worker is gone.
    """
    _alone_without_launcher()
    die_with_parent()
    _first_machine_first(timeout_s)
    kind = accelerator()
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        backend="nccl" if kind == "cuda" and dist.is_nccl_available() else "gloo",
        timeout=timedelta(seconds=timeout_s),
    )
    _Groups.patient = dist.new_group(backend="gloo", timeout=timedelta(seconds=SILENT_S))
    _Groups.counting = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))
    try:
        with heard(distributed_c10d._get_default_store(), timeout_s, _ranks_here()):
            yield
            all_here()
        dist.barrier(group=_Groups.patient)  # one of them may hold the store in which they meet
    except RuntimeError as error:
        if any(sign in str(error) for sign in _LOST):
            raise AngioError(
                f"A worker ended, or kept the others waiting for more than {timeout_s:.0f} s. What "
                "it says above is the cause; if it says nothing it hung. Training resumes from the "
                "last finished epoch when the stage is run again."
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _alone_without_launcher() -> None:
    if "RANK" in os.environ:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in alone.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"


def _first_machine_first(timeout_s: float) -> None:
    """Give the first ranks to the machine that is the first one.

    Machines that meet by ``torchrun`` are numbered by their addresses, whoever they are.

    Raises
    ------
    ConfigError
        There is not just one first machine, or they have not as many workers each.
    """
    role = os.environ.get(_MACHINE)
    if role is None:
        return
    own, count, local, locals_ = (
        int(os.environ[name])
        for name in ("GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    store = (StoreWithoutLibuv if sys.platform == "win32" else TCPStore)(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=timeout_s),
    )
    if local == 0:
        store.set(f"{_MACHINE}/{own}", f"{role} {locals_}")
    said = [store.get(f"{_MACHINE}/{number}").decode().split() for number in range(count)]
    roles, workers = zip(*said, strict=True)
    if len(set(workers)) > 1:
        raise ConfigError(
            f"The machines have {', '.join(workers)} workers; train.workers is for all."
        )
    if roles.count("first") != 1:
        raise ConfigError(
            f"Of {count} machines {roles.count('first')} are the first. Run the pipeline on one of "
            "them and `sam3-angio join` on the others."
        )
    place = (own - roles.index("first")) % count
    os.environ.update(GROUP_RANK=str(place), RANK=str(place * locals_ + local))


def patient_group() -> Any:
    """Return the group of all workers for tensors in the main memory, after `all_here`."""
    return _Groups.patient


def is_first_here() -> bool:
    """Whether this is the first worker of its machine."""
    return int(os.environ["LOCAL_RANK"]) == 0


def machine_count() -> int:
    """Return how many machines the workers are on."""
    return dist.get_world_size() // _workers_here()


def _workers_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE") or dist.get_world_size())


def _ranks_here() -> range:
    first = _machine() * _workers_here()
    return range(first, first + _workers_here())


def _machine() -> int:
    return dist.get_rank() // _workers_here()


def first_worker_does(work: Callable[[], Result]) -> Result | None:
    """Let worker 0 do something while the others wait.

    Returns
    -------
    object or None
        What `work` returned, on worker 0.

    Raises
    ------
    SystemExit
        On the other workers of its machine, if worker 0 failed: without an error of their own, so
        that its error is the one that is reported.
    AngioError
        On the workers of other machines, if worker 0 failed.
    """
    return _together(work, does=dist.get_rank() == 0)


def first_of_each_machine_does(work: Callable[[], Result]) -> Result | None:
    """Let the first worker of each machine do something while the others wait.

    Worker 0 does it alone before the others do, so that machines which share a folder find it done.

    Returns
    -------
    object or None
        What `work` returned, on the workers that did it.

    Raises
    ------
    SystemExit, AngioError
        As with :func:`first_worker_does`, if one of them failed.
    """
    first = first_worker_does(work)
    if machine_count() == 1:
        return first
    rest = _together(work, does=is_first_here() and dist.get_rank() > 0)
    return first if dist.get_rank() == 0 else rest


def _together(work: Callable[[], Result], *, does: bool) -> Result | None:
    result: Result | None = None
    error: BaseException | None = None
    if does:
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001 - raised again below
            error = caught
    failed = torch.zeros(machine_count(), dtype=torch.int64)
    failed[_machine()] = int(error is not None)
    all_here()
    dist.all_reduce(failed, group=_Groups.patient)
    if error is not None:
        raise error
    if failed[_machine()]:
        raise SystemExit(0)
    if failed.any():
        raise AngioError("The training ended on another machine, which says why.")
    return result


def summed_in_step(step: int, numbers: Sequence[int]) -> tuple[int, ...]:
    """Add up some numbers over the workers, who must be at the same step.

    A worker that leaves a step out would from then on add its gradients to those of another step,
    and nothing else would notice.

    Parameters
    ----------
    step : int
        Of this worker.
    numbers : sequence of int

    Raises
    ------
    AngioError
        The workers are not at the same step.
    """
    own = torch.tensor([step, *numbers])
    said = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(said, own, group=_Groups.counting)
    steps, *columns = zip(*(one.tolist() for one in said), strict=True)
    if len(set(steps)) > 1:
        raise AngioError(
            f"The workers are not at the same step: one is at {min(steps)} of this epoch, another "
            f"at {max(steps)}. The last finished epoch is good; training resumes from it when the "
            "stage is run again."
        )
    return tuple(sum(column) for column in columns)


@contextmanager
def only_training(root: Path) -> Iterator[None]:
    """Hold the lock that lets one training at a time use a scratch folder.

    Raises
    ------
    AngioError
        Another training holds it.
    """
    lock = FileLock(root / "training.lock")
    first_worker_does(lambda: _acquire(lock))
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock) -> None:
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=_LOCK_PATIENCE_S)
    except Timeout:
        raise AngioError(
            "Another training is running in this project. Wait for it, or end its torchrun; "
            "a second one at the same time would only halve the speed of both."
        ) from None
