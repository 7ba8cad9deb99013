"""Pretraining the tiny model on drawn scenes: the embedded default's counterpart of a checkpoint.

Nobody fine-tunes SAM 3 from random weights. The tiny model is therefore trained once, by the same
trainer and losses, on scenes that know nothing of the heart; its weights ship with the package.

Run under ``torchrun``; ``sam3-angio pretrain-tiny`` does so. An interrupted run resumes.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
import typer
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from scipy.stats import mannwhitneyu
from torch.distributed.elastic.multiprocessing.errors import record

from sam3_angio.command import run
from sam3_angio.detector.build import TINY
from sam3_angio.detector.checkpoint import save_weights
from sam3_angio.detector.drawn import FAMILIES, DrawnScenes
from sam3_angio.detector.predict import answers, dice, enlarge, own_share
from sam3_angio.detector.pulse import all_here
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import Origin, code_digests, runs_root, versions
from sam3_angio.detector.runtime import accelerator, deterministic, prepare
from sam3_angio.detector.trainer import PhaseTrainer
from sam3_angio.detector.workers import first_worker_does, joined, only_training
from sam3_angio.files import replacing, sha256, write_json

WEIGHTS = "tiny.pt"
CARD = "tiny.json"
_WEIGHTS = "weights.pt"
_SCENES_OF_A_LESSON = 10**7


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutAnswer:
    """What the model said to one phrase of a held-out scene.

    Attributes
    ----------
    family : str
    present : bool
        Whether the phrase is true.
    presence : float
        The model's probability that it is.
    dice : float or None
        Of the semantic mask, where the phrase is true.
    """

    family: str
    present: bool
    presence: float
    dice: float | None


def pretrain(out: Path) -> None:
    """Train the tiny model on scenes and write its weights and their card.

    Parameters
    ----------
    out : Path
        Folder of ``tiny.pt`` (half precision) and ``tiny.json``.

    Raises
    ------
    AngioError
        Another training runs, or the loss stopped being finite.
    """
    cv2.setNumThreads(1)  # the workers share the cores already
    settings = lesson_recipe(0, None).scratch.train
    prepare(settings.threads)
    with deterministic(), joined(settings.timeout_s), only_training(runs_root()):
        folder = runs_root() / "pretrain" / _origin().fingerprint
        course = [_taught(number, folder) for number in range(len(lessons()))]
        trainer = course[-1]
        found = held_out_answers(trainer.model.module, trainer.validation, trainer.device)
        first_worker_does(lambda: _publish(course, found, out))


def _taught(number: int, folder: Path) -> PhaseTrainer:
    """Train one lesson, from the weights of the one before; a finished one is only loaded."""
    trainer: PhaseTrainer = instantiate(lesson_recipe(number, folder).trainer, _recursive_=False)
    trainer.run()
    weights = _lesson_folder(folder, number) / _WEIGHTS
    first_worker_does(lambda: save_weights(trainer.model.module, weights))
    return trainer


def _lesson_folder(folder: Path, number: int) -> Path:
    return folder / f"lesson{number + 1}"


def lessons() -> list[dict[str, Any]]:
    """Return the lessons: the side of the pictures, which phrases, how long and at which rate."""
    listed: list[dict[str, Any]] = OmegaConf.to_container(_composed({}, {}).lessons)
    return listed


def _origin() -> Origin:
    settings = [_settings(lesson_recipe(number, None)) for number in range(len(lessons()))]
    return Origin(
        recipe="pretrain",
        parameters={"lessons": settings},
        data={},
        initial="none",
        code=code_digests("pretrain"),
        versions=versions(),
        workers=dist.get_world_size(),
    )


def lesson_recipe(number: int, folder: Path | None) -> DictConfig:
    """Return the recipe of a lesson; without a folder, one to read numbers from.

    Parameters
    ----------
    number : int
        From zero.
    folder : Path or None
        Of the whole training.
    """
    lesson = lessons()[number]
    rates = dict.fromkeys(("lr", "lr_vision", "lr_text"), lesson["lr"])
    own = {} if folder is None else _places(folder, number)
    recipe = _composed({"epochs": lesson["epochs"], **rates}, own, side_px=lesson["side_px"])
    for scenes in (recipe.scenes.train, recipe.scenes.val):
        scenes.words = lesson["words"]
    recipe.scenes.train.first = number * _SCENES_OF_A_LESSON
    recipe.trainer.data.train.dataset = recipe.scenes.train
    recipe.trainer.data.validation = recipe.trainer.data.prediction = recipe.scenes.val
    return recipe


def _places(folder: Path, number: int) -> dict[str, str]:
    own = _lesson_folder(folder, number)
    places = {"folder": str(own), "curves": str(own / "curves")}
    if number:
        places["initial"] = str(_lesson_folder(folder, number - 1) / _WEIGHTS)
    return places


def _composed(
    phase: dict[str, Any], places: dict[str, str], side_px: int = TINY.resolution_px
) -> DictConfig:
    run: dict[str, Any] = {
        **dict.fromkeys(("train_document", "train_store", "val_document", "val_store"), ""),
        **dict.fromkeys(("folder", "curves"), ""),
        "label": "Pretraining",
        "accelerator": accelerator(),
        "queries": TINY.queries,
        "frozen": [],
        "loader_workers": 0,
        "remember_mb": 0,
        "initial": None,
        **places,
    }
    sections = {"model": {"resolution": side_px}, "train": {}, "train_pretrain": phase}
    return compose_recipe("pretrain", sections, run)


def held_out_answers(
    model: torch.nn.Module, scenes: DrawnScenes, device: torch.device
) -> list[HeldOutAnswer]:
    """Ask the model the phrases of some scenes, over all workers."""
    own = []
    for answer in answers(model, scenes, own_share(len(scenes)), device):
        overlap = None
        if answer.target is not None:
            overlap = dice(enlarge(answer.semantic, answer.target.shape) > 0, answer.target)
        own.append(
            HeldOutAnswer(
                family=FAMILIES[answer.category_id],
                present=answer.target is not None,
                presence=answer.presence,
                dice=overlap,
            )
        )
    gathered: list[list[HeldOutAnswer]] = [[] for _ in range(dist.get_world_size())]
    all_here()
    dist.all_gather_object(gathered, own)
    return [answer for part in gathered for answer in part]


def held_out_scores(found: Sequence[HeldOutAnswer]) -> dict[str, dict[str, float | int | None]]:
    """Return the scores of each family of phrases, and of all together.

    Returns
    -------
    dict
        By family, and ``all``: ``n_true``, ``n_false``; ``auc`` of the presence; ``recall`` and
        ``false_positive_rate`` at one half; ``dice``. None where a family has no such phrase.
    """
    scores = {"all": _scores(found)}
    for family in FAMILIES:
        scores[family] = _scores([answer for answer in found if answer.family == family])
    return scores


def _scores(found: Sequence[HeldOutAnswer]) -> dict[str, float | int | None]:
    true = np.array([answer.presence for answer in found if answer.present])
    false = np.array([answer.presence for answer in found if not answer.present])
    overlaps = [answer.dice for answer in found if answer.dice is not None]
    auc = None
    if len(true) and len(false):
        pairs_won = float(mannwhitneyu(true, false).statistic)
        auc = round(pairs_won / (len(true) * len(false)), 4)
    return {
        "n_true": len(true),
        "n_false": len(false),
        "auc": auc,
        "recall": round(float((true > 0.5).mean()), 4) if len(true) else None,
        "false_positive_rate": round(float((false > 0.5).mean()), 4) if len(false) else None,
        "dice": round(float(np.mean(overlaps)), 4) if overlaps else None,
    }


def _settings(recipe: DictConfig) -> dict[str, Any]:
    """Return the numbers of a lesson's recipe, without the folders of this machine."""
    parts = {
        name: OmegaConf.to_container(recipe.scratch[name]) for name in ("model", "train", "phase")
    }
    return {**parts, "scenes": OmegaConf.to_container(recipe.scenes)}


def _publish(course: Sequence[PhaseTrainer], found: Sequence[HeldOutAnswer], out: Path) -> None:
    with replacing(out) as folder:
        folder.mkdir()
        save_weights(course[-1].model.module, folder / WEIGHTS, half=True)
        taught = [
            {
                "settings": _settings(lesson_recipe(number, None)),
                "minutes": trainer.history[-1]["minutes"],
                "steps": trainer.steps["train"],
                "history": trainer.history,
            }
            for number, trainer in enumerate(course)
        ]
        card = {
            "sha256": sha256(folder / WEIGHTS),
            "licence": "Apache-2.0",
            "trained_on": "scenes drawn by sam3_angio.scenes; no picture of a patient or phantom",
            "minutes": round(sum(lesson["minutes"] for lesson in taught), 1),
            "workers": dist.get_world_size(),
            "processor": platform.machine(),
            "versions": versions(),
            "held_out": held_out_scores(found),
            "lessons": taught,
        }
        write_json(folder / CARD, card)


def main(out: Annotated[Path, typer.Option(help="Folder of the weights.")]) -> None:
    """Pretrain the tiny model."""
    pretrain(out)


if __name__ == "__main__":
    record(run)(main)
