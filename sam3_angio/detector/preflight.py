"""Whether a training can run on this machine, said before an hour is lost.

What a training needs is counted from its configuration, its model built without memory; what the
machine has is in :mod:`~sam3_angio.detector.machine`. Each comparison is a :class:`Finding`. An
error is something that will certainly fail; what may fail, or is slower than it need be, is a
warning.

Conventions
-----------
Sizes are in bytes, and shown in GiB. Memory for activations is not counted, because it depends on
the pictures and phrases: what is counted is what surely will be taken, and a quarter of it is asked
for on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sam3_angio.detector.build import NoMemory
from sam3_angio.detector.machine import Machine
from sam3_angio.errors import ConfigError, Fault

Verdict = Literal["good", "warning", "error"]

_WEIGHT_BYTES = 4
#: Of both of Adam's moments, by optimiser.
_MOMENT_BYTES = {"adamw": 8, "adamw8bit": 2}
#: What a CUDA context and the libraries' workspaces take; less says nothing of other processes.
_CONTEXT_BYTES = 3 << 29
_HEADROOM = 1.25
_PIXEL_BYTES = 3 * 4
_BATCHES_AHEAD = 2
_COLOURS = {"good": "green", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing.

    Attributes
    ----------
    about : str
    found : str
    verdict : {"good", "warning", "error"}
    fix : str
        What to do about it; empty where it is good.
    """

    about: str
    found: str
    verdict: Verdict = "good"
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a training needs.

    Attributes
    ----------
    label : str
        Name of the phase.
    workers, nodes : int
        Processes, and the machines that they are on.
    threads, loader_workers : int
        Of each worker: its threads, and its processes that prepare batches.
    batch_size : int
        Frames a worker and step.
    frames : int or None
        Of the training set; None if it is not there yet.
    side_px : int
        Of what the model sees.
    parameters, trained : int
        Numbers of the model, and those of them that are trained.
    moment_bytes : int
        What the optimiser keeps for a trained number.
    kept_bytes : int
        Of a checkpoint from which the training would be resumed.
    """

    label: str
    workers: int
    nodes: int
    threads: int
    loader_workers: int
    batch_size: int
    frames: int | None
    side_px: int
    parameters: int
    trained: int
    moment_bytes: int
    kept_bytes: int = 0

    @property
    def local_workers(self) -> int:
        """Workers on one machine."""
        return self.workers // self.nodes

    @property
    def memory_bytes(self) -> int:
        """What weights, gradients and the optimiser take, of each worker."""
        return self.parameters * _WEIGHT_BYTES + self.trained * (_WEIGHT_BYTES + self.moment_bytes)

    @property
    def state_bytes(self) -> int:
        """Size of a checkpoint from which a training is resumed."""
        return self.parameters * _WEIGHT_BYTES + self.trained * self.moment_bytes

    @property
    def disk_bytes(self) -> int:
        """Two checkpoints, since one is whole until the next is, and the published weights."""
        return max(0, 2 * self.state_bytes + self.parameters * _WEIGHT_BYTES - self.kept_bytes)

    @property
    def shared_bytes(self) -> int:
        """Pictures that are prepared ahead."""
        ahead = self.local_workers * self.loader_workers * _BATCHES_AHEAD * self.batch_size
        return ahead * self.side_px**2 * _PIXEL_BYTES


def need_of(
    recipe: DictConfig,
    *,
    workers: int,
    nodes: int = 1,
    frames: int | None,
    kept_bytes: int = 0,
) -> Need:
    """Count what a training needs.

    Parameters
    ----------
    recipe : DictConfig
        As :func:`~sam3_angio.detector.recipe.compose_recipe` returns it.
    workers, nodes : int
        Processes, and the machines that they are on.
    frames : int or None
        Of the training set.
    kept_bytes : int
        Of a checkpoint from which the training would be resumed.
    """
    with NoMemory():
        weights = list(instantiate(recipe.trainer.model, _convert_="all").parameters())
    train = recipe.scratch.train
    return Need(
        label=recipe.scratch.run.label,
        workers=workers,
        nodes=nodes,
        threads=train.threads,
        loader_workers=recipe.scratch.run.loader_workers,
        batch_size=recipe.scratch.phase.batch_size,
        frames=frames,
        side_px=recipe.scratch.model.resolution,
        parameters=sum(weight.numel() for weight in weights),
        trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        moment_bytes=_MOMENT_BYTES[train.optimizer],
        kept_bytes=kept_bytes,
    )


def examine(machine: Machine, needs: Sequence[Need]) -> tuple[Finding, ...]:
    """Compare what trainings need with what a machine has.

    Parameters
    ----------
    machine : Machine
    needs : sequence of Need
        Of trainings that run one after the other.
    """
    on_gpu = bool(machine.gpus)
    checks: list[Callable[[Machine, Need], Iterator[Finding]]] = [
        _disk,
        _gpu_memory if on_gpu else _memory,
        _frames,
        _shared_memory,
        _workers_on_gpus if on_gpu else _workers_on_cores,
    ]
    found = [*_versions(machine), *_gpus(machine), *_communication(machine), *_triton(machine)]
    found += [finding for need in needs for check in checks for finding in check(machine, need)]
    return tuple(dict.fromkeys(found))


def require_none_wrong(label: str, findings: Sequence[Finding]) -> None:
    """Stop where a finding is an error.

    Parameters
    ----------
    label : str
        Name of the training.
    findings : sequence of Finding

    Raises
    ------
    ConfigError
        With every finding that is an error.
    """
    faults = [
        Fault(file=finding.about, message=finding.found, fix=finding.fix)
        for finding in findings
        if finding.verdict == "error"
    ]
    if faults:
        raise ConfigError(f"{label} cannot run on this machine:", faults)


def tell_warnings(findings: Sequence[Finding]) -> None:
    """Print the findings that do not stop a training, on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for finding in findings:
        if finding.verdict == "warning":
            console.print(f"Warning: {finding.about}: {finding.found} {finding.fix}", markup=False)


def finding_table(findings: Sequence[Finding]) -> Table:
    """Return all findings as a table for a terminal."""
    table = Table(title="Can this machine train?", title_justify="left")
    for name in ("about", "", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict, style=_COLOURS[finding.verdict])
        table.add_row(Text(finding.about), verdict, Text(finding.found), Text(finding.fix))
    return table


def _versions(machine: Machine) -> Iterator[Finding]:
    yield Finding(about="Python", found=f"{machine.python}, {machine.system}")
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    yield Finding(about="packages", found=packages)
    yield Finding(about="commit", found=machine.commit or "unknown: not a Git working tree")
    yield Finding(
        about="machine", found=f"{machine.cores} cores, {_gib(machine.memory_bytes)} memory free"
    )


def _gpus(machine: Machine) -> Iterator[Finding]:
    if not machine.gpus:
        built = (
            "PyTorch has no CUDA" if machine.cuda is None else f"PyTorch has CUDA {machine.cuda}"
        )
        yield Finding(about="GPU", found=f"none; {built}. Training runs on the CPU.")
    for number, gpu in enumerate(machine.gpus):
        about, found = f"GPU {number}", f"{gpu.name}, {_gib(gpu.total_bytes)}"
        used = gpu.used_bytes
        if used is None:
            yield Finding(about=about, found=f"{found}, how much is free is unknown")
        elif used > _CONTEXT_BYTES:
            yield Finding(
                about=about,
                found=f"{found}, {_gib(used)} in use by another process.",
                verdict="warning",
                fix="See nvidia-smi; end it, or hide the card with CUDA_VISIBLE_DEVICES.",
            )
        else:
            yield Finding(about=about, found=f"{found}, {_gib(gpu.total_bytes - used)} free")


def _communication(machine: Machine) -> Iterator[Finding]:
    about = "communication"
    if machine.gpus and machine.nccl:
        yield Finding(about=about, found="NCCL")
    elif not machine.gloo:
        fix = "Install PyTorch with torch.distributed."
        yield Finding(about=about, found="neither NCCL nor gloo.", verdict="error", fix=fix)
    elif machine.gpus and not machine.system.startswith("Windows"):
        fix = "Install PyTorch with NCCL."
        yield Finding(about=about, found="gloo, by way of the CPU.", verdict="warning", fix=fix)
    else:
        yield Finding(about=about, found="gloo")


def _triton(machine: Machine) -> Iterator[Finding]:
    if machine.triton:
        yield Finding(about="Triton", found="there" if machine.gpus else "there, not needed")
    elif machine.gpus:
        yield Finding(
            about="Triton",
            found="missing: the focal losses are computed more slowly.",
            verdict="warning",
            fix="Install triton, on Windows triton-windows.",
        )
    else:
        yield Finding(about="Triton", found="missing, not needed")


def _disk(machine: Machine, need: Need) -> Iterator[Finding]:
    found = f"{_gib(need.disk_bytes)} needed for checkpoints, {_gib(machine.disk_bytes)} free"
    yield _compared(
        f"disk, {need.label}",
        found,
        enough=machine.disk_bytes >= need.disk_bytes,
        plenty=machine.disk_bytes >= _HEADROOM * need.disk_bytes,
        fix="Free disk space, or set SAM3_ANGIO_RUNS to a folder on another disk.",
    )


def _gpu_memory(machine: Machine, need: Need) -> Iterator[Finding]:
    smallest = min(gpu.total_bytes - (gpu.used_bytes or 0) for gpu in machine.gpus)
    whole = min(gpu.total_bytes for gpu in machine.gpus)
    found = (
        f"{_gib(need.memory_bytes)} for weights, gradients and optimiser, and activations; "
        f"{_gib(smallest)} free"
    )
    yield _compared(
        f"GPU memory, {need.label}",
        found,
        enough=whole >= need.memory_bytes,
        plenty=smallest >= _HEADROOM * need.memory_bytes,
        fix="Freeze more of the model, lower batch_size, or take another profile.",
    )


def _memory(machine: Machine, need: Need) -> Iterator[Finding]:
    needed = need.local_workers * need.memory_bytes
    yield _compared(
        f"memory, {need.label}",
        f"{_gib(needed)} for weights, gradients and optimiser, and activations; "
        f"{_gib(machine.memory_bytes)} free",
        enough=machine.memory_bytes >= needed,
        plenty=machine.memory_bytes >= _HEADROOM * needed,
        fix="Lower train.workers, or take another profile.",
    )


def _frames(machine: Machine, need: Need) -> Iterator[Finding]:
    del machine
    about, step = f"frames, {need.label}", need.batch_size * need.workers
    if need.frames is None:
        yield Finding(about=about, found="the data set is not made yet")
        return
    yield _compared(
        about,
        f"{need.frames} to train on, {step} a step",
        enough=need.frames >= step,
        plenty=True,
        fix="Lower batch_size or train.workers.",
    )


def _shared_memory(machine: Machine, need: Need) -> Iterator[Finding]:
    if need.loader_workers and machine.shared_bytes is not None:
        yield _compared(
            "shared memory",
            f"{_gib(need.shared_bytes)} for batches, {_gib(machine.shared_bytes)} free",
            enough=machine.shared_bytes >= need.shared_bytes,
            plenty=machine.shared_bytes >= _HEADROOM * need.shared_bytes,
            fix="Lower train.loader_workers; a container gets more by --shm-size.",
        )


def _workers_on_gpus(machine: Machine, need: Need) -> Iterator[Finding]:
    yield _compared(
        "workers",
        f"{need.local_workers}, and {len(machine.gpus)} GPUs",
        enough=need.local_workers <= len(machine.gpus),
        plenty=need.local_workers >= len(machine.gpus),
        fix=f"Set train.workers to {len(machine.gpus)}: one a GPU.",
    )


def _workers_on_cores(machine: Machine, need: Need) -> Iterator[Finding]:
    threads = need.local_workers * (need.threads + need.loader_workers)
    yield _compared(
        "workers",
        f"{need.local_workers}, {threads} threads and loaders in all, and {machine.cores} cores",
        enough=True,
        plenty=threads <= machine.cores,
        fix="Lower train.threads or train.loader_workers.",
    )


def _compared(about: str, found: str, *, enough: bool, plenty: bool, fix: str) -> Finding:
    if enough and plenty:
        return Finding(about=about, found=found)
    verdict: Verdict = "warning" if enough else "error"
    return Finding(about=about, found=f"{found}.", verdict=verdict, fix=fix)


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
