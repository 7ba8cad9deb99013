"""The baseline beside Phase 1: what a U-Net learns from the same frames in about the same minutes.

It reads the frames and masks that Phase 1 reads, prepared at the same resolution, and publishes
its answers in the same form, so that the same code scores both. One process trains it, with all
the threads that the workers of a phase have together.

Conventions
-----------
The network is asked nothing. Its answer counts as one to the phrase of Phase 1; presence and score
are the mean probability of the pixels that it marks, 0 where it marks none.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.config import load_config
from sam3_angio.detector.checkpoint import save_weights
from sam3_angio.detector.curves import CurveLogger
from sam3_angio.detector.frames import FrameSet, load_frames, prepare
from sam3_angio.detector.panel import draw_panel, panel_places
from sam3_angio.detector.predict import Answer, answer_rows, write_rows
from sam3_angio.detector.progress import TrainingProgress
from sam3_angio.detector.queries import PreparedFrames
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
from sam3_angio.detector.unet import UNetTraining, confidence, describe
from sam3_angio.detector.workers import joined, only_training
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.files import replacing, sha256, write_json, write_text
from sam3_angio.progress import tracked
from sam3_angio.prompts import TREE_CATEGORY

_RECIPE = "baseline"
_LABEL = "Baseline"
_SECTIONS = ("model", "train", "train_baseline")
#: What of the section `train` the baseline takes up; the rest is about SAM 3.
_SHARED = ("workers", "threads", "seed")


def train_baseline(*, dataset: Path, model: Path, predictions: Path, curves: Path) -> None:
    """Train the baseline and publish network, curves and answers for the validation frames.

    Parameters
    ----------
    dataset : Path
        Folder written by the ``split`` stage.
    model, predictions, curves : Path
        Folders to make.

    Raises
    ------
    AngioError
        Parameters or data are wrong, the loss stopped being finite, or parameters or code were
        edited meanwhile.
    """
    with _alone():
        plan = _plan(dataset)
        for split, frames in plan.splits.items():
            prepare(frames, plan.side_px, plan.store(split))
        training = UNetTraining(recipe=plan.recipe, state=plan.folder / "state.pt")
        validation = instantiate(plan.recipe.validation)
        logger = CurveLogger(
            tensorboard=str(plan.folder / "tensorboard"),
            curves=str(curves),
            pictures=str(plan.folder / "pictures"),
        )
        logger.replay(training.history)
        _train(training, validation, logger)
        found = tracked(_answers(training, validation), len(validation), "Predicting")
        images = validation.coco.images
        rows = [answer_rows(answer, TREE_PHRASE, images[answer.image_id], 1) for answer in found]
        write_rows(rows, plan.folder / "predictions")
        require_unchanged(plan.origin)
        logger.close()
        _publish(training, plan, logger, model)
        with replacing(predictions) as folder:
            shutil.copytree(plan.folder / "predictions", folder)
            shutil.copytree(logger.panel_folder, folder / "panel")


@contextmanager
def _alone() -> Iterator[None]:
    """Be the one worker, with the threads of all."""
    settings = load_config().train
    prepare_runtime(settings.workers * settings.threads)
    with deterministic(), joined(settings.timeout_s), only_training(runs_root()):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is trained, from what, and where."""

    origin: Origin
    splits: dict[str, FrameSet]

    @property
    def folder(self) -> Path:
        return runs_root() / _RECIPE / self.origin.fingerprint

    @property
    def side_px(self) -> int:
        return int(self.origin.parameters["model"]["resolution"])

    def store(self, split: str) -> Path:
        """Return the folder of the prepared frames; Phase 1 uses the same."""
        return runs_root() / "prepared" / f"{self.splits[split].digest[:16]}-{self.side_px}"

    @property
    def recipe(self) -> DictConfig:
        levels = len(self.origin.parameters["train_baseline"]["channels"])
        run = {
            # The first level is at full resolution, each further one at half of that before.
            "strides": [1] + [2] * (levels - 2),
            "loader_workers": load_config().train.loader_workers,
            **{f"{split}_document": str(of.document_path) for split, of in self.splits.items()},
            **{f"{split}_store": str(self.store(split)) for split in self.splits},
        }
        shared = {name: self.origin.parameters["train"][name] for name in _SHARED}
        return compose_recipe(_RECIPE, self.origin.parameters | {"train": shared}, run)


def _plan(dataset: Path) -> _Plan:
    parameters = parameters_of(load_config(), _SECTIONS)
    splits = {split: load_frames(dataset, split, "vessel_tree") for split in ("train", "val")}
    _require_fitting(parameters, len(splits["train"].images))
    origin = Origin(
        recipe=_RECIPE,
        parameters=parameters,
        data={split: frames.digest for split, frames in splits.items()},
        initial="none",
        code=code_digests(_RECIPE),
        versions=versions() | {"monai": metadata.version("monai")},
        workers=1,
    )
    return _Plan(origin=origin, splits=splits)


def _require_fitting(parameters: dict[str, Any], frames: int) -> None:
    settings, side_px = parameters["train_baseline"], parameters["model"]["resolution"]
    if frames < settings["batch_size"]:
        raise DataError.at(
            "train",
            f"{frames} frames are fewer than one step takes, {settings['batch_size']}.",
            "Lower train_baseline.batch_size.",
        )
    smallest = 2 ** (len(settings["channels"]) - 2)
    if side_px % smallest:
        raise ConfigError(
            f"train_baseline.channels has {len(settings['channels'])} levels, which wants "
            f"model.resolution to be a multiple of {smallest}, not {side_px}."
        )


def _train(training: UNetTraining, validation: PreparedFrames, logger: CurveLogger) -> None:
    progress = TrainingProgress(
        label=_LABEL, epochs=training.epochs, steps=training.steps, shown=True
    )
    if training.history:
        progress.resume(len(training.history))
    with progress:
        for epoch in range(len(training.history), training.epochs):
            began = time.monotonic()
            progress.begin_epoch(epoch)
            record = training.train_epoch(progress)
            if training.is_validated(epoch):
                record["val/dice_semantic"] = training.mean_dice(validation)
                logger.log_panel(_panel(training, validation), epoch)
            before = training.history[-1]["minutes"] if training.history else 0.0
            record["minutes"] = round(before + (time.monotonic() - began) / 60, 3)
            training.end_epoch(record)
            logger.log_dict(record, epoch)
            progress.end_epoch(record)


def _panel(training: UNetTraining, validation: PreparedFrames) -> NDArray[np.uint8]:
    places = panel_places(len(validation))
    return draw_panel(validation, places, _answers(training, validation, places))


def _answers(
    training: UNetTraining, samples: PreparedFrames, places: Sequence[int] | None = None
) -> Iterator[Answer]:
    """Yield what the network finds in frames, by default in all, as answers to a phrase."""
    for image_id, mask, logits in training.answers(samples, places):
        presence = confidence(logits)
        yield Answer(
            image_id=image_id,
            category_id=TREE_CATEGORY,
            asked="",
            presence=presence,
            scores=torch.tensor([presence]),
            instances=logits[None],
            semantic=logits,
            target=mask,
        )


def _publish(training: UNetTraining, plan: _Plan, logger: CurveLogger, out: Path) -> None:
    with replacing(out) as folder:
        folder.mkdir()
        save_weights(training.network, folder / "checkpoint.pt")
        shutil.copy(logger.progress_file, folder / "progress.png")
        write_text(folder / "config.yaml", OmegaConf.to_yaml(plan.recipe))
        digest = sha256(folder / "checkpoint.pt")
        write_json(folder / "metadata.json", _metadata(training, plan.origin, digest))


def _metadata(training: UNetTraining, origin: Origin, digest: str) -> dict[str, Any]:
    return {
        "checkpoint_sha256": digest,
        "fingerprint": origin.fingerprint,
        "data_sha256": origin.data,
        "initial_sha256": origin.initial,
        "versions": origin.versions,
        "device": accelerator(),
        "workers": origin.workers,
        "threads": torch.get_num_threads(),
        **describe(training.network),
        "steps": training.epochs * training.steps,
        "seconds": math.ceil(60 * training.history[-1]["minutes"]),
        "last_epoch": training.history[-1],
    }
