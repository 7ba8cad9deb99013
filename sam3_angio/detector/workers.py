"""Worker processes under ``torchrun``: joining, agreeing, and ending together.

Started without ``torchrun`` a process is the only worker of its group.

Conventions
-----------
Worker 0 is the one that reads, locks, reports and publishes; the others wait for it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout

from sam3_angio.detector.runtime import accelerator, die_with_parent
from sam3_angio.errors import AngioError

Result = TypeVar("Result")

_LOCK_PATIENCE_S = 10.0
_SETUP_PATIENCE = timedelta(hours=6)
#: What a collective operation says when another worker is gone, or does not come.
_LOST = ("Timed out", "timed out", "Timeout", "Connection closed by peer", "Connection reset")


class _Groups:
    """Further groups of all workers.

    Attributes
    ----------
    patient
        Waits long, for what one worker does alone.
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
    kind = accelerator()
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        backend="nccl" if kind == "cuda" and dist.is_nccl_available() else "gloo",
        timeout=timedelta(seconds=timeout_s),
    )
    _Groups.patient = dist.new_group(backend="gloo", timeout=_SETUP_PATIENCE)
    _Groups.counting = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))
    try:
        yield
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


def first_worker_does(work: Callable[[], Result]) -> Result | None:
    """Let worker 0 do something while the others wait.

    Returns
    -------
    object or None
        What `work` returned, on worker 0.

    Raises
    ------
    SystemExit
        On the other workers, if worker 0 failed: without an error of their own, so that its error
        is the one that is reported.
    """
    result: Result | None = None
    error: BaseException | None = None
    if dist.get_rank() == 0:
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001 - raised again below
            error = caught
    good = torch.tensor(int(error is None))
    dist.broadcast(good, src=0, group=_Groups.patient)
    if error is not None:
        raise error
    if not int(good):
        raise SystemExit(0)
    return result


def require_same_step(step: int) -> None:
    """Compare the number of a step with that of the other workers.

    A worker that leaves a step out would from then on add its gradients to those of another step,
    and nothing else would notice.

    Raises
    ------
    AngioError
        The workers are not at the same step.
    """
    if dist.get_world_size() == 1:
        return
    ends = torch.tensor([step, -step])
    dist.all_reduce(ends, op=dist.ReduceOp.MAX, group=_Groups.counting)
    last, first = int(ends[0]), -int(ends[1])
    if first != last:
        raise AngioError(
            f"The workers are not at the same step: one is at {first} of this epoch, another at "
            f"{last}. The last finished epoch is good; training resumes from it when the stage is "
            "run again."
        )


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
