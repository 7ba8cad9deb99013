"""Starting the workers of a training: on this machine, on several, or by Slurm.

``train.launcher`` of ``params.yaml`` says how. All ways end in PyTorch's ``torchrun``, in this
process, so that a launcher that is killed takes its workers with it.

========== ==================================================================================
standalone this machine alone
c10d       ``train.nodes`` machines, each with its own launcher; they meet at the address
           that ``SAM3_ANGIO_RENDEZVOUS`` gives, on the machine where the pipeline runs
slurm      ``train.nodes`` machines of a Slurm allocation; ``srun`` starts their launchers
========== ==================================================================================

Conventions
-----------
The first machine is the one where the pipeline runs. Its workers have the first ranks, whichever
order the machines came in (see :func:`sam3_angio.detector.workers.joined`); it alone publishes.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sam3_angio.config import Config, TrainConfig, load_config
from sam3_angio.errors import AngioError, ConfigError

#: Names of environment variables: where machines meet, and whether this one is the first.
ADDRESS, MACHINE = "SAM3_ANGIO_RENDEZVOUS", "SAM3_ANGIO_MACHINE"
FIRST, OTHER = "first", "other"

_PATIENCE_S = 6 * 3600
_BETWEEN_TRIES_S = 1.0
#: A worker that was told to end, and hangs, is killed.
_KILLED_AFTER_S = 10
_PORTS = (20_000, 40_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where machines meet.

    Attributes
    ----------
    host : str
    port : int
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def launch(work: Sequence[str], *, joins: bool = False, slurm_task: bool = False) -> None:
    """Run workers to their end, as ``params.yaml`` says.

    Parameters
    ----------
    work : sequence of str
        What each worker is given: ``-m``, a module and its arguments.
    joins : bool
        Whether this machine helps one where the pipeline runs.
    slurm_task : bool
        Whether ``srun`` has started this process, once on each machine.

    Raises
    ------
    AngioError
        The parameters and this machine do not agree, or no other machine comes.
    """
    config = load_config()
    train = config.train
    if train.launcher == "slurm" and not slurm_task:
        _become(_srun(train, work))
    elif train.launcher == "standalone":
        if joins:
            raise ConfigError(
                "train.launcher is 'standalone': a training takes one machine. Set it to 'c10d', "
                "and train.nodes to the number of machines."
            )
        _torchrun(["--standalone"], config, work)
    else:
        first = os.environ.get("SLURM_NODEID") == "0" if slurm_task else not joins
        _with_others(_address(), config, work, first=first)


def _with_others(address: Address, config: Config, work: Sequence[str], *, first: bool) -> None:
    train = config.train
    os.environ[MACHINE] = FIRST if first else OTHER
    if first and train.nodes > 1:
        _tell(f"Waiting at {address} until {train.nodes} machines are there, this one included.")
    own = address.host if first else _own_address(address)
    meeting = [
        f"--nnodes={train.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={address}",
        f"--rdzv-id=sam3-angio.{work[1]}",
        f"--rdzv-conf=is_host={int(first)},join_timeout={_PATIENCE_S}",
        f"--local-addr={own}",
    ]
    _torchrun(meeting, config, work)


def _torchrun(options: Sequence[str], config: Config, work: Sequence[str]) -> None:
    _require_gpus(config)
    if sys.platform == "win32":
        _without_libuv()
    from torch.distributed.run import main

    ending = f"--shutdown-timeout={_KILLED_AFTER_S}"
    main([*options, ending, f"--nproc-per-node={config.train.workers}", *work])


def _require_gpus(config: Config) -> None:
    """Have a GPU for each worker, or none at all.

    Raises
    ------
    ConfigError
        There are fewer GPUs than workers, for a model that is too large for the CPU.
    """
    import torch

    workers, gpus = config.train.workers, torch.cuda.device_count()
    if not 0 < gpus < workers:
        return
    if config.model.size != "tiny":
        raise ConfigError(
            f"train.workers is {workers}, and this machine has {gpus} GPU{'s' * (gpus > 1)}: a "
            f"worker takes one. Set train.workers to {gpus} in params.yaml, or choose a profile "
            "for one card: sam3-angio profile single-24gb."
        )
    _tell(
        f"{workers} workers and {gpus} GPU{'s' * (gpus > 1)}: training runs on the CPU. Set "
        f"train.workers to {gpus} in params.yaml to use the GPU."
    )
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _without_libuv() -> None:
    """Let ``torchrun`` make its stores as PyTorch for Windows can, which is built without libuv.

    Its rendezvous asks for libuv whatever the environment variable ``USE_LIBUV`` says.
    """
    import torch.distributed as dist
    from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend

    from sam3_angio.detector.stores import StoreWithoutLibuv

    os.environ.setdefault("USE_LIBUV", "0")
    dist.TCPStore = StoreWithoutLibuv  # type: ignore[attr-defined]
    c10d_rendezvous_backend.TCPStore = StoreWithoutLibuv  # type: ignore[attr-defined]


def _address() -> Address:
    value = os.environ.get(ADDRESS, "")
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"The environment variable {ADDRESS} is {repr(value) if value else 'not set'}. With "
            "train.launcher 'c10d' it says, on each machine alike, where they meet: name or "
            "address of the machine where the pipeline runs, a colon, and a free port of it, such "
            "as 192.168.1.10:29400."
        )
    return Address(host=host.strip("[]"), port=int(port))


def _own_address(address: Address) -> str:
    """Wait until the first machine listens; return the address that this one reaches it from."""
    _tell(f"Waiting for the first machine at {address}.")
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        try:
            with socket.create_connection((address.host, address.port), timeout=10) as reached:
                return str(reached.getsockname()[0])
        except OSError:
            time.sleep(_BETWEEN_TRIES_S)
    raise AngioError(f"Nobody listened at {address} for {_PATIENCE_S // 3600} hours.")


def _srun(train: TrainConfig, work: Sequence[str]) -> list[str]:
    """Return the command that starts a launcher on each machine of a Slurm allocation."""
    job, nodes = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_JOB_NUM_NODES", "")
    if not job.isdecimal() or not nodes.isdecimal():
        raise ConfigError(
            "train.launcher is 'slurm', and this is no Slurm job. Run the pipeline by sbatch or "
            "salloc; docs/how-to/more-machines.md has a script."
        )
    if int(nodes) != train.nodes:
        raise ConfigError(
            f"The Slurm job has {nodes} machines, train.nodes is {train.nodes}. Set either to the "
            "other: another number of machines is another training."
        )
    os.environ.setdefault(ADDRESS, f"{_first_host()}:{_port_of(int(job))}")
    # A step takes the processors of its job only when it is told how many.
    processors = os.environ.get("SLURM_CPUS_PER_TASK")
    return [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        *([f"--cpus-per-task={processors}"] if processors else []),
        "--kill-on-bad-exit=1",
        sys.executable,
        *("-m", "stages.launch", "--slurm-task"),
        *work,
    ]


def _first_host() -> str:
    named = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    try:
        done = subprocess.run(named, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise AngioError("Slurm's scontrol does not tell which machines the job has.") from None
    return done.stdout.split()[0]


def _port_of(job: int) -> int:
    """Return a port that other jobs on the same machine seldom have."""
    low, high = _PORTS
    return low + job % (high - low)


def _become(command: list[str]) -> None:
    """Let another program take this process's place, so that a signal reaches it."""
    if shutil.which(command[0]) is None:
        raise ConfigError(f"train.launcher is 'slurm', and there is no {command[0]} here.")
    if sys.platform == "win32":  # where there is no Slurm
        raise SystemExit(subprocess.run(command, check=False).returncode)
    os.execvp(command[0], command)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()
