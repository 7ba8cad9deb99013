"""Whether a training can run on this machine, said before an hour is lost.

What a training needs is counted from its configuration, its model built without memory; what the
machine has is in :mod:`~sam3_angio.detector.machine`. Each comparison is a :class:`Finding`. An
error is something that will certainly fail; what may fail, or is slower than it need be, is a
warning.

Conventions
-----------
Sizes are in bytes, and shown in GiB. Weights, gradients and the optimiser's state are counted;
activations are estimated (:mod:`~sam3_angio.detector.activations`). A quarter of both together is
asked for on top, for the memory that lies in pieces and for CUDA itself. A training that needs more
than there is by an estimate is warned of; it is refused only where the half of what was estimated
would be too much: an estimate may err, and a refusal leaves no way on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sam3_angio.anatomy import segments
from sam3_angio.coco import Document
from sam3_angio.detector.activations import Step, activation_bytes
from sam3_angio.detector.build import NoMemory
from sam3_angio.detector.checkpoint import require_loadable
from sam3_angio.detector.machine import Machine
from sam3_angio.errors import ConfigError, Fault

Verdict = Literal["good", "warning", "error"]

_WEIGHT_BYTES = 4
#: Of both of Adam's moments, by optimiser.
_MOMENT_BYTES = {"adamw": 8, "adamw8bit": 2}
#: What a CUDA context and the libraries' workspaces take; less says nothing of other processes.
_CONTEXT_BYTES = 3 << 29
#: What the libraries take of each process, before there is a model; measured.
_PROCESS_BYTES = 560 << 20
#: The part of an estimate that is taken for certain.
_SURE = 0.5
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
class Frames:
    """What a training reads.

    Attributes
    ----------
    count : int
        Frames of the training set.
    named : int
        Segments that are labelled in a frame, at most.
    unprepared_bytes : int
        What both splits will take at the model's resolution, but for what is there already.
    """

    count: int
    named: int = 1
    unprepared_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model that was built without memory.

    Attributes
    ----------
    parameters, trained : int
        Its numbers, and those of them that are trained.
    weights : mapping of str to Tensor
        On ``meta``: names and shapes.
    """

    parameters: int
    trained: int
    weights: Mapping[str, torch.Tensor]


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
    frames : Frames or None
        None if the data set is not there yet.
    step : Step
        What passes the model at once.
    parameters, trained : int
        Numbers of the model, and those of them that are trained.
    moment_bytes : int
        What the optimiser keeps for a trained number.
    keeps_best : bool
        Whether the weights of the best epoch are kept beside the last state.
    kept_bytes : int
        Of the state from which the training would be resumed.
    """

    label: str
    workers: int
    nodes: int
    threads: int
    loader_workers: int
    batch_size: int
    frames: Frames | None
    step: Step
    parameters: int
    trained: int
    moment_bytes: int
    keeps_best: bool = False
    kept_bytes: int = 0

    @property
    def local_workers(self) -> int:
        """Workers on one machine."""
        return self.workers // self.nodes

    @property
    def weight_bytes(self) -> int:
        """Size of the model."""
        return self.parameters * _WEIGHT_BYTES

    @property
    def memory_bytes(self) -> int:
        """What weights, gradients and the optimiser take, of each worker."""
        return self.weight_bytes + self.trained * (_WEIGHT_BYTES + self.moment_bytes)

    @property
    def estimated_bytes(self) -> int:
        """What a step takes besides, of each worker."""
        return activation_bytes(self.step, self.trained)

    @property
    def state_bytes(self) -> int:
        """Size of a checkpoint from which a training is resumed."""
        return self.weight_bytes + self.trained * self.moment_bytes

    @property
    def disk_bytes(self) -> int:
        """What will be written.

        Two checkpoints, since one is whole until the next is, two files of best weights for the
        same reason, the published weights, and the prepared frames.
        """
        best = 2 * self.weight_bytes if self.keeps_best else 0
        states = max(0, 2 * self.state_bytes + best + self.weight_bytes - self.kept_bytes)
        return states + (0 if self.frames is None else self.frames.unprepared_bytes)

    @property
    def shared_bytes(self) -> int:
        """Pictures that are prepared ahead."""
        ahead = self.local_workers * self.loader_workers * _BATCHES_AHEAD * self.batch_size
        return ahead * self.step.side_px**2 * _PIXEL_BYTES

    def is_on_gpus(self, machine: Machine) -> bool:
        """Whether it trains on a machine's GPUs; a tiny model that has too few takes none."""
        return bool(machine.gpus) and not self.has_too_few_gpus(machine)

    def has_too_few_gpus(self, machine: Machine) -> bool:
        """Whether a tiny model leaves a machine's GPUs, of which there is not one a worker."""
        return self.step.size == "tiny" and 0 < len(machine.gpus) < self.local_workers


def named_at_most(document: Document) -> int:
    """Return how many segments are labelled in a frame, at most.

    Parameters
    ----------
    document : Document
    """
    named: dict[int, set[int]] = {}
    for mark in document.annotations:
        if mark.category_id in segments():
            named.setdefault(mark.image_id, set()).add(mark.category_id)
    return max(map(len, named.values()), default=1)


def shape_of(recipe: DictConfig) -> ModelShape:
    """Return the shape of a configuration's model; one that was built before is not built again.

    Parameters
    ----------
    recipe : DictConfig
        As :func:`~sam3_angio.detector.recipe.compose_recipe` returns it.
    """
    return _shape(OmegaConf.to_yaml(recipe.trainer.model))


@lru_cache
def _shape(settings: str) -> ModelShape:
    with NoMemory():
        model = instantiate(OmegaConf.create(settings), _convert_="all")
    weights = list(model.parameters())
    return ModelShape(
        parameters=sum(weight.numel() for weight in weights),
        trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        weights=model.state_dict(),
    )


def need_of(
    recipe: DictConfig,
    *,
    workers: int,
    nodes: int = 1,
    frames: Frames | None,
    kept_bytes: int = 0,
) -> Need:
    """Count what a training needs.

    Parameters
    ----------
    recipe : DictConfig
        As :func:`~sam3_angio.detector.recipe.compose_recipe` returns it.
    workers, nodes : int
        Processes, and the machines that they are on.
    frames : Frames or None
    kept_bytes : int
        Of the state from which the training would be resumed.
    """
    shape = shape_of(recipe)
    train, phase = recipe.scratch.train, recipe.scratch.phase
    return Need(
        label=recipe.scratch.run.label,
        workers=workers,
        nodes=nodes,
        threads=train.threads,
        loader_workers=recipe.scratch.run.loader_workers,
        batch_size=phase.batch_size,
        frames=frames,
        step=Step(
            size=recipe.scratch.model.size,
            side_px=recipe.scratch.model.resolution,
            frames=phase.batch_size // train.parts,
            queries=_queries(phase, 1 if frames is None else frames.named),
            precision=train.precision,
            recompute=train.recompute,
            learns_to_see=not phase.freeze_vision,
        ),
        parameters=shape.parameters,
        trained=shape.trained,
        moment_bytes=_MOMENT_BYTES[train.optimizer],
        keeps_best=phase.keep == "best",
        kept_bytes=kept_bytes,
    )


def _queries(phase: DictConfig, named: int) -> int:
    """Return how many phrases a frame is asked for, at most."""
    shown = named * (2 if "lesion_phrase" in phase else 1)
    if "negatives" not in phase:
        return shown
    absent = phase.negatives
    denied = 0 if absent.policy == "none" else absent.per_image
    rates = (denied, *(absent[f"{kind}_per_image"] for kind in ("phrases", "rivals", "unrelated")))
    return shown + sum(math.ceil(float(rate)) for rate in rates)


def weights_finding(recipe: DictConfig, path: Path | None) -> Finding:
    """Say whether a training can start from a file of weights, without reading their numbers.

    Parameters
    ----------
    recipe : DictConfig
        As :func:`~sam3_angio.detector.recipe.compose_recipe` returns it.
    path : Path or None
        None for random weights.
    """
    about = f"weights, {recipe.scratch.run.label}"
    if path is None:
        return Finding(about=about, found="random, as model.checkpoint says")
    try:
        require_loadable(path, shape_of(recipe).weights, added=recipe.trainer.added)
    except ConfigError as error:
        return _unfit(about, error)
    return Finding(about=about, found=f"they fit the model, {_gib(path.stat().st_size)}")


def _unfit(about: str, error: ConfigError) -> Finding:
    if not error.faults:
        fix = "Copy, download or train it again."
        return Finding(about=about, found=error.headline, verdict="error", fix=fix)
    first = error.faults[0]
    return Finding(
        about=about,
        found=f"{error.headline.removesuffix(':')}, such as {first.field}: {first.message}",
        verdict="error",
        fix="Set model.size and model.checkpoint to belong together.",
    )


def examine(machine: Machine, needs: Sequence[Need]) -> tuple[Finding, ...]:
    """Compare what trainings need with what a machine has.

    Parameters
    ----------
    machine : Machine
    needs : sequence of Need
        Of trainings that run one after the other.
    """
    found = [*_versions(machine), *_gpus(machine), *_communication(machine), *_triton(machine)]
    for need in needs:
        found += [finding for check in _checks(machine, need) for finding in check(machine, need)]
    return tuple(dict.fromkeys(found))


def _checks(machine: Machine, need: Need) -> list[Callable[[Machine, Need], Iterator[Finding]]]:
    if need.is_on_gpus(machine):
        return [_disk, _gpu_memory, _memory_to_load, _frames, _shared_memory, _workers_on_gpus]
    return [_disk, _memory, _frames, _shared_memory, _workers_on_cores]


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
    found = (
        f"{_gib(need.disk_bytes)} needed for checkpoints and prepared frames, "
        f"{_gib(machine.disk_bytes)} free"
    )
    yield _compared(
        f"disk, {need.label}",
        found,
        enough=machine.disk_bytes >= need.disk_bytes,
        plenty=machine.disk_bytes >= _HEADROOM * need.disk_bytes,
        fix="Free disk space, or set SAM3_ANGIO_RUNS to a folder on another disk.",
    )


def _gpu_memory(machine: Machine, need: Need) -> Iterator[Finding]:
    counted, estimated = need.memory_bytes, need.estimated_bytes
    smallest = min(gpu.total_bytes - (gpu.used_bytes or 0) for gpu in machine.gpus)
    whole = min(gpu.total_bytes for gpu in machine.gpus)
    yield _compared(
        f"GPU memory, {need.label}",
        f"{_memory_needed(counted, estimated)}; {_gib(smallest)} free",
        enough=whole >= counted + _SURE * estimated,
        plenty=smallest >= _HEADROOM * (counted + estimated),
        fix="Lower batch_size, raise train.parts, freeze more of the model, set train.recompute, "
        "or take another profile.",
    )


def _memory(machine: Machine, need: Need) -> Iterator[Finding]:
    counted = need.local_workers * need.memory_bytes
    estimated = need.local_workers * (need.estimated_bytes + _PROCESS_BYTES)
    yield _compared(
        f"memory, {need.label}",
        f"{_memory_needed(counted, estimated)}; {_gib(machine.memory_bytes)} free",
        enough=machine.memory_bytes >= counted + _SURE * estimated,
        plenty=machine.memory_bytes >= _HEADROOM * (counted + estimated),
        fix="Lower train.workers or batch_size, or take another profile.",
    )


def _memory_needed(counted: int, estimated: int) -> str:
    return (
        f"{_gib(counted)} for weights, gradients and optimiser, and about {_gib(estimated)} for a "
        "step (estimated)"
    )


def _memory_to_load(machine: Machine, need: Need) -> Iterator[Finding]:
    """Compare the main memory with what workers hold before their model is on its GPU."""
    weights = need.local_workers * need.weight_bytes
    most = need.local_workers * (max(2 * need.weight_bytes, need.state_bytes) + _PROCESS_BYTES)
    yield _compared(
        f"memory, {need.label}",
        f"about {_gib(most)} while weights are loaded, or a killed training's state; "
        f"{_gib(machine.memory_bytes)} free",
        enough=machine.memory_bytes >= weights,
        plenty=machine.memory_bytes >= most,
        fix="Free main memory: end other programs.",
    )


def _frames(machine: Machine, need: Need) -> Iterator[Finding]:
    del machine
    about, step = f"frames, {need.label}", need.batch_size * need.workers
    if need.frames is None:
        yield Finding(about=about, found="the data set is not made yet")
    elif need.frames.count < step:
        yield Finding(
            about=about,
            found=f"{need.frames.count} frames are fewer than one step takes, {step}.",
            verdict="error",
            fix=f"Lower batch_size of {need.label} or train.workers.",
        )
    else:
        yield Finding(about=about, found=f"{need.frames.count} to train on, {step} a step")


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
        _workers_and_gpus(machine, need),
        enough=need.local_workers <= len(machine.gpus),
        plenty=need.local_workers >= len(machine.gpus),
        fix=f"Set train.workers to {len(machine.gpus)}: one a GPU.",
    )


def _workers_on_cores(machine: Machine, need: Need) -> Iterator[Finding]:
    if need.has_too_few_gpus(machine):
        yield Finding(
            about="workers",
            found=f"{_workers_and_gpus(machine, need)}: trains on the CPU.",
            verdict="warning",
            fix=f"Set train.workers to {len(machine.gpus)} to use the GPU.",
        )
    threads = need.local_workers * (need.threads + need.loader_workers)
    yield _compared(
        "workers",
        f"{need.local_workers}, {threads} threads and loaders in all, and {machine.cores} cores",
        enough=True,
        plenty=threads <= machine.cores,
        fix="Lower train.threads or train.loader_workers.",
    )


def _workers_and_gpus(machine: Machine, need: Need) -> str:
    counts = {"worker": need.local_workers, "GPU": len(machine.gpus)}
    return " and ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in counts.items())


def _compared(about: str, found: str, *, enough: bool, plenty: bool, fix: str) -> Finding:
    if enough and plenty:
        return Finding(about=about, found=found)
    verdict: Verdict = "warning" if enough else "error"
    return Finding(about=about, found=f"{found}.", verdict=verdict, fix=fix)


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
