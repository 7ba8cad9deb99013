"""Training a phase, from the data set to the published model.

Work happens in the run's own folder (see :mod:`~sam3_angio.detector.run_folder`); model and
predictions are moved to their places when all of it has succeeded.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sam3_angio.config import load_config
from sam3_angio.detector.build import model_spec
from sam3_angio.detector.checkpoint import save_weights
from sam3_angio.detector.frames import FrameSet, load_frames, prepare
from sam3_angio.detector.predict import predict
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import (
    Origin,
    code_digests,
    parameters_of,
    require_unchanged,
    runs_root,
    versions,
)
from sam3_angio.detector.runtime import accelerator, be_deterministic
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.trainer import PhaseTrainer
from sam3_angio.detector.workers import first_worker_does, joined, only_training
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.files import replacing, sha256, write_json, write_text

_FROZEN_BY = {
    "freeze_text": "backbone.language_backbone.encoder",
    "freeze_vision": "backbone.vision_backbone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outs:
    """Where a phase publishes.

    Attributes
    ----------
    model, predictions, curves : Path
        Folders.
    """

    model: Path
    predictions: Path
    curves: Path


def train_phase(phase: str, *, task: str, dataset: Path, outs: Outs) -> None:
    """Train a phase and publish its model, its curves and its validation predictions.

    Parameters
    ----------
    phase : str
        Such as ``phase1``; names the packaged configuration and the section of ``params.yaml``.
    task : {"vessel_tree", "segments"}
        Which labels.
    dataset : Path
        Folder written by the ``split`` stage.
    outs : Outs

    Raises
    ------
    AngioError
        Parameters, data or weights are wrong, another training runs, the loss stopped being
        finite, or parameters or code were edited meanwhile.
    """
    config = load_config()
    prepare_runtime(config.train.threads)
    be_deterministic()
    with joined(config.train.timeout_s), only_training(runs_root()):
        # Every worker reads for itself; the first one goes ahead and reports what is wrong.
        plan = first_worker_does(lambda: _plan(phase, task, dataset, outs.curves))
        plan = plan or _plan(phase, task, dataset, outs.curves)
        first_worker_does(lambda: _prepare_stores(plan))
        trainer = instantiate(_recipe(plan).trainer, _recursive_=False)
        trainer.run()
        _predict(trainer, plan)
        first_worker_does(lambda: _publish(trainer, plan, outs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is trained, from what, and where."""

    phase: str
    origin: Origin
    splits: dict[str, FrameSet]
    folder: Path
    curves: Path

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.origin.parameters[f"train_{self.phase}"]
        return settings

    def store(self, split: str) -> Path:
        side_px = self.origin.parameters["model"]["resolution"]
        return runs_root() / "prepared" / f"{self.splits[split].digest[:16]}-{side_px}"


def _plan(phase: str, task: str, dataset: Path, curves: Path) -> _Plan:
    splits = {split: load_frames(dataset, split, task) for split in ("train", "val")}
    origin = _origin(phase, splits)
    folder = runs_root() / phase / origin.fingerprint
    plan = _Plan(phase=phase, origin=origin, splits=splits, folder=folder, curves=curves)
    _require_full_batches(plan)
    _recipe(plan)
    return plan


def _origin(phase: str, splits: dict[str, FrameSet]) -> Origin:
    parameters = parameters_of(load_config(), phase)
    checkpoint = parameters["model"]["checkpoint"]
    if checkpoint != "none" and not Path(checkpoint).is_file():
        raise ConfigError("params.yaml, field 'model.checkpoint': no such file.")
    return Origin(
        parameters=parameters,
        data={split: frames.digest for split, frames in splits.items()},
        initial="none" if checkpoint == "none" else sha256(Path(checkpoint)),
        code=code_digests(),
        versions=versions(),
        workers=dist.get_world_size(),
    )


def _require_full_batches(plan: _Plan) -> None:
    wanted = plan.settings["batch_size"] * plan.origin.workers
    frames = len(plan.splits["train"].images)
    if frames < wanted:
        raise DataError.at(
            "train",
            f"{frames} frames are fewer than one step takes, {wanted}.",
            f"Lower train_{plan.phase}.batch_size or train.workers.",
        )


def _recipe(plan: _Plan) -> DictConfig:
    model = plan.origin.parameters["model"]
    run = {
        "label": f"Phase {plan.phase.removeprefix('phase')}",
        "accelerator": accelerator(),
        "queries": model_spec(model["size"], model["resolution"]).queries,
        "frozen": [part for key, part in _FROZEN_BY.items() if plan.settings[key]],
        "initial": None if model["checkpoint"] == "none" else model["checkpoint"],
        "folder": str(plan.folder),
        "curves": str(plan.curves),
        "train_document": str(plan.splits["train"].document_path),
        "train_store": str(plan.store("train")),
        "val_document": str(plan.splits["val"].document_path),
        "val_store": str(plan.store("val")),
    }
    return compose_recipe(plan.phase, plan.origin.parameters, run)


def _prepare_stores(plan: _Plan) -> None:
    for split, frames in plan.splits.items():
        prepare(frames, plan.origin.parameters["model"]["resolution"], plan.store(split))


def _predict(trainer: PhaseTrainer, plan: _Plan) -> None:
    predict(
        trainer.model.module,
        trainer.validation,
        instances=plan.settings["instances"],
        device=trainer.device,
        parts=plan.folder,
        out=plan.folder / "predictions",
    )


def _publish(trainer: PhaseTrainer, plan: _Plan, outs: Outs) -> None:
    require_unchanged(plan.origin, plan.phase)
    trainer.curves.close()
    with replacing(outs.model) as folder:
        folder.mkdir()
        save_weights(trainer.model.module, folder / "checkpoint.pt")
        write_text(folder / "config.yaml", OmegaConf.to_yaml(_recipe(plan)))
        digest = sha256(folder / "checkpoint.pt")
        write_json(folder / "metadata.json", _metadata(trainer, plan.origin, digest))
    with replacing(outs.predictions) as folder:
        shutil.copytree(plan.folder / "predictions", folder)


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
        "last_epoch": trainer.history[-1],
    }
