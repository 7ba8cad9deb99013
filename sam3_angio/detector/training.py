"""Training a phase, from the data set to the published model.

Work happens in the run's own folder (see :mod:`~sam3_angio.detector.run_folder`); model and
predictions are moved to their places when all of it has succeeded.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sam3_angio.config import load_config
from sam3_angio.detector.build import model_spec, tokenizer
from sam3_angio.detector.checkpoint import save_weights
from sam3_angio.detector.frames import (
    FrameSet,
    is_prepared,
    load_frames,
    prepare,
    prepared_bytes,
)
from sam3_angio.detector.machine import this_machine
from sam3_angio.detector.predict import predict
from sam3_angio.detector.preflight import (
    Frames,
    examine,
    named_at_most,
    need_of,
    require_none_wrong,
    tell_warnings,
    weights_finding,
)
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import (
    Origin,
    code_digests,
    parameters_of,
    require_unchanged,
    runs_root,
    versions,
)
from sam3_angio.detector.runtime import accelerator, deterministic
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.sharing import on_every_machine, require_alike
from sam3_angio.detector.trainer import PhaseTrainer
from sam3_angio.detector.weights import resolve
from sam3_angio.detector.workers import (
    first_of_each_machine_does,
    first_worker_does,
    joined,
    machine_count,
    only_training,
)
from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.files import replacing, sha256, write_json, write_text
from sam3_angio.prompts import segment_numbers

_FROZEN_BY = {
    "freeze_text": "backbone.language_backbone.encoder",
    "freeze_vision": "backbone.vision_backbone",
}
#: Sections of ``params.yaml`` in which machines that train together may differ.
_OF_A_MACHINE = {"data", "machine"}
_ALTERS_PICTURES = ("contrast", "rotation_deg", "scale", "shift")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is trained.

    Attributes
    ----------
    recipe : str
        Packaged configuration, such as ``phase2``.
    label : str
        Name for people.
    sections : tuple of str
        Sections of ``params.yaml`` that the result depends on; that of the phase is named
        ``train_...``.
    labels : {"vessel_tree", "segments", "findings"}
        Task of the data set.
    start : Path or None
        Weights to start from; None for those of ``model.checkpoint``.
    run : mapping
        Further values of the configuration's ``scratch.run``.
    ignored : tuple of str
        Keys of the phase's section that are not of this job.
    phrases : tuple of str
        Phrases of its own, for lesions.
    """

    recipe: str
    label: str
    sections: tuple[str, ...]
    labels: str
    start: Path | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


#: Phase 1: the vessel tree.
TREE = Job(
    recipe="phase1",
    label="Phase 1",
    sections=("model", "train", "train_phase1"),
    labels="vessel_tree",
)


def segments_job(start: Path) -> Job:
    """Return Phase 2: segments by name.

    Parameters
    ----------
    start : Path
        Folder of the model of Phase 1.
    """
    return Job(
        recipe="phase2",
        label="Phase 2",
        sections=("model", "prompts", "train", "train_phase2"),
        labels="segments",
        start=start / "checkpoint.pt",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outs:
    """Where a training publishes.

    Attributes
    ----------
    model, predictions, curves : Path
        Folders.
    """

    model: Path
    predictions: Path
    curves: Path


@contextmanager
def session() -> Iterator[None]:
    """Be a worker, together with the others, for one training or several.

    Raises
    ------
    AngioError
        Another training runs, another worker is gone, or has other parameters.
    """
    config = load_config()
    prepare_runtime(config.train.threads)
    with deterministic(), joined(config.train.timeout_s):
        require_alike(config.model_dump(mode="json", exclude=_OF_A_MACHINE))
        with only_training(runs_root()):
            yield


def folder_of(job: Job, dataset: Path) -> Path:
    """Return the folder that a job works in, which no other job has.

    Raises
    ------
    AngioError
        Parameters, data or weights are wrong.
    """
    return _plan(job, dataset, Path()).folder


def train_phase(job: Job, *, dataset: Path, outs: Outs) -> None:
    """Train, within a :func:`session`, and publish model, curves and validation predictions.

    Parameters
    ----------
    job : Job
    dataset : Path
        Folder written by the ``split`` stage.
    outs : Outs

    Raises
    ------
    AngioError
        Parameters, data or weights are wrong, the loss stopped being finite, or parameters or
        code were edited meanwhile.
    """
    # Every worker reads for itself; the first one goes ahead and reports what is wrong.
    plan = first_worker_does(lambda: _plan(job, dataset, outs.curves))
    if job.start is not None:
        on_every_machine(job.start)
    plan = plan or _plan(job, dataset, outs.curves)
    require_alike(asdict(plan.origin))
    on_every_machine(plan.state)
    first_of_each_machine_does(lambda: _preflight(plan))
    first_of_each_machine_does(lambda: _prepare_stores(plan))
    trainer = instantiate(plan.recipe.trainer, _recursive_=False)
    trainer.run()
    _predict(trainer, plan)
    first_worker_does(lambda: _publish(trainer, plan, outs))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is trained, from what, and where."""

    job: Job
    origin: Origin
    splits: dict[str, FrameSet]
    folder: Path
    curves: Path

    @property
    def settings(self) -> dict[str, Any]:
        (section,) = (name for name in self.job.sections if name.startswith("train_"))
        settings: dict[str, Any] = self.origin.parameters[section]
        return settings

    @cached_property
    def recipe(self) -> DictConfig:
        return _recipe(self)

    @property
    def state(self) -> Path:
        return self.folder / "state" / "checkpoint.pt"

    def store(self, split: str) -> Path:
        side_px = self.origin.parameters["model"]["resolution"]
        return runs_root() / "prepared" / f"{self.splits[split].digest[:16]}-{side_px}"


def _plan(job: Job, dataset: Path, curves: Path) -> _Plan:
    splits = {split: load_frames(dataset, split, job.labels) for split in ("train", "val")}
    origin = _origin(job, splits)
    folder = runs_root() / job.recipe / origin.fingerprint
    plan = _Plan(job=job, origin=origin, splits=splits, folder=folder, curves=curves)
    _require_asked(plan)
    _require_short_phrases(plan)
    _ = plan.recipe  # refuses what does not fit it
    return plan


def _start(job: Job, parameters: Mapping[str, Any]) -> Path | None:
    return resolve(parameters["model"]["checkpoint"]) if job.start is None else job.start


def _origin(job: Job, splits: dict[str, FrameSet]) -> Origin:
    parameters = parameters_of(load_config(), job.sections, job.ignored)
    start = _start(job, parameters)
    if start is not None and not start.is_file():
        raise ConfigError(f"The weights to start from, {start.as_posix()}, are missing.")
    return Origin(
        recipe=job.recipe,
        parameters=parameters,
        data={split: frames.digest for split, frames in splits.items()},
        initial="none" if start is None else sha256(start),
        code=code_digests(job.recipe),
        versions=versions(),
        workers=dist.get_world_size(),
        choices=dict(job.run),
        ignored=job.ignored,
    )


def _require_asked(plan: _Plan) -> None:
    """Refuse labels that no phrase asks for; their frames would teach absence only."""
    if plan.job.labels != "segments":
        return
    asked = segment_numbers(plan.origin.parameters["prompts"]["segments"])
    faults = [
        Fault(
            file=f"{split}/segments/annotations.json",
            field=frames.images[mark.image_id].frame_id,
            message=f"segment {mark.category_id} is annotated, and not asked for.",
            fix="Set prompts.segments to 'all', or remove the label.",
        )
        for split, frames in plan.splits.items()
        for mark in frames.document.annotations
        if mark.category_id not in asked
    ]
    if faults:
        raise DataError("Labels and prompts do not agree:", faults)


def _require_short_phrases(plan: _Plan) -> None:
    """Refuse phrases that the text encoder would cut off without a word."""
    parameters = plan.origin.parameters
    if "prompts" not in parameters:
        return
    longest = model_spec(**_size(parameters)).context_length
    faults = [
        Fault(
            file="params.yaml",
            field=where,
            message=f"'{phrase}' has {length} tokens, more than {longest}.",
            fix="Shorten it.",
        )
        for where, phrases in (
            ("prompts.wrong", parameters["prompts"]["wrong"]),
            ("negatives.phrases", plan.settings["negatives"]["phrases"]),
            ("lesion_phrase", plan.job.phrases),
        )
        for phrase in phrases
        # The encoder adds a token at either end.
        if (length := len(tokenizer().encode(phrase)) + 2) > longest
    ]
    if faults:
        raise ConfigError("The text encoder would cut what it is asked:", faults)


def _size(parameters: Mapping[str, Any]) -> dict[str, Any]:
    model = parameters["model"]
    return {"size": model["size"], "resolution_px": model["resolution"]}


def _recipe(plan: _Plan) -> DictConfig:
    parameters = plan.origin.parameters
    start = _start(plan.job, parameters)
    run = {
        "label": plan.job.label,
        "accelerator": accelerator(),
        "queries": model_spec(**_size(parameters)).queries,
        "frozen": frozen_parts(plan.settings),
        "loader_workers": load_config().train.loader_workers,
        "remember_mb": _remembered_mb(plan),
        "initial": None if start is None else str(start),
        "folder": str(plan.folder),
        "curves": str(plan.curves),
        "train_document": str(plan.splits["train"].document_path),
        "train_store": str(plan.store("train")),
        "val_document": str(plan.splits["val"].document_path),
        "val_store": str(plan.store("val")),
        **plan.job.run,
    }
    return compose_recipe(plan.job.recipe, parameters, run)


def frozen_parts(settings: Mapping[str, Any]) -> list[str]:
    """Return the modules that a phase's section of ``params.yaml`` leaves untrained."""
    return [part for key, part in _FROZEN_BY.items() if settings[key]]


def _preflight(plan: _Plan) -> None:
    """Stop, before anything is made, what cannot come to its end on this machine."""
    if dist.get_rank() == 0:  # nobody else writes there meanwhile
        for folder in (runs_root() / "prepared", plan.state.parent):
            _sweep(folder)
    initial = plan.recipe.scratch.run.initial
    need = need_of(
        plan.recipe,
        workers=plan.origin.workers,
        nodes=machine_count(),
        frames=_frames(plan),
        kept_bytes=sum(path.stat().st_size for path in plan.state.parent.glob("*.pt")),
    )
    findings = (
        weights_finding(plan.recipe, None if initial is None else Path(initial)),
        *examine(this_machine(runs_root()), [need]),
    )
    require_none_wrong(plan.job.label, findings)
    tell_warnings(findings)


def _frames(plan: _Plan) -> Frames:
    side_px = plan.origin.parameters["model"]["resolution"]
    train = plan.splits["train"].document
    return Frames(
        count=len(train.images),
        named=named_at_most(train),
        unprepared_bytes=sum(
            prepared_bytes(frames.document, side_px)
            for split, frames in plan.splits.items()
            if not is_prepared(plan.store(split))
        ),
    )


def _remembered_mb(plan: _Plan) -> int:
    """Return what the vision transformer may keep; nothing where no picture comes back."""
    settings = plan.settings
    altered = not settings["variants"] and any(settings[key] for key in _ALTERS_PICTURES)
    if altered or not settings["freeze_vision"]:
        return 0
    return int(plan.origin.parameters["train"]["remember_mb"])


def _prepare_stores(plan: _Plan) -> None:
    for split, frames in plan.splits.items():
        prepare(frames, plan.origin.parameters["model"]["resolution"], plan.store(split))


def _sweep(folder: Path) -> None:
    """Remove what killed processes were writing when they ended; gigabytes, with a checkpoint."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _predict(trainer: PhaseTrainer, plan: _Plan) -> None:
    predict(
        trainer.model.module,
        instantiate(trainer.data_conf.prediction),
        instances=plan.settings["instances"],
        device=trainer.device,
        collate=trainer.collate,
        out=plan.folder / "predictions",
    )


def _publish(trainer: PhaseTrainer, plan: _Plan, outs: Outs) -> None:
    require_unchanged(plan.origin)
    trainer.curves.close()
    with replacing(outs.model) as folder:
        folder.mkdir()
        save_weights(trainer.model.module, folder / "checkpoint.pt")
        shutil.copy(trainer.curves.progress_file, folder / "progress.png")
        write_text(folder / "config.yaml", OmegaConf.to_yaml(plan.recipe))
        digest = sha256(folder / "checkpoint.pt")
        write_json(folder / "metadata.json", _metadata(trainer, plan.origin, digest))
    with replacing(outs.predictions) as folder:
        shutil.copytree(plan.folder / "predictions", folder)
        shutil.copytree(trainer.curves.panel_folder, folder / "panel")


def _metadata(trainer: PhaseTrainer, origin: Origin, digest: str) -> dict[str, Any]:
    weights = list(trainer.model.module.parameters())
    return {
        "checkpoint_sha256": digest,
        "fingerprint": origin.fingerprint,
        "data_sha256": origin.data,
        "initial_sha256": origin.initial,
        "versions": origin.versions,
        "device": accelerator(),
        "workers": origin.workers,
        "threads": torch.get_num_threads(),
        "parameters": sum(weight.numel() for weight in weights),
        "parameters_trained": sum(w.numel() for w in weights if w.requires_grad),
        "steps": trainer.steps["train"],
        "seconds": math.ceil(trainer.time_elapsed_meter.val),
        "last_epoch": trainer.history[trainer.kept_epoch],
        "epochs_done": len(trainer.history),
        "epoch_kept": trainer.kept_epoch + 1,
    }
