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
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import Origin, code_digests, runs_root, versions
from sam3_angio.detector.runtime import accelerator, be_deterministic, prepare
from sam3_angio.detector.trainer import PhaseTrainer
from sam3_angio.detector.workers import first_worker_does, joined, only_training
from sam3_angio.files import replacing, sha256, write_json

WEIGHTS = "tiny.pt"
CARD = "tiny.json"
_SECTIONS: dict[str, dict[str, Any]] = {"model": {}, "train": {}, "train_pretrain": {}}


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
    settings = _recipe({"folder": "", "curves": ""}).scratch.train
    prepare(settings.threads)
    be_deterministic()
    with joined(settings.timeout_s), only_training(runs_root()):
        folder = runs_root() / "pretrain" / _origin().fingerprint
        recipe = _recipe({"folder": str(folder), "curves": str(folder / "curves")})
        trainer = instantiate(recipe.trainer, _recursive_=False)
        trainer.run()
        found = held_out_answers(trainer.model.module, trainer.validation, trainer.device)
        first_worker_does(lambda: _publish(trainer, recipe, found, out))


def _origin() -> Origin:
    recipe = _recipe({"folder": "", "curves": ""})
    return Origin(
        recipe="pretrain",
        parameters={**_settings(recipe), "scenes": OmegaConf.to_container(recipe.scenes)},
        data={},
        initial="none",
        code=code_digests("pretrain"),
        versions=versions(),
        workers=dist.get_world_size(),
    )


def _recipe(run: dict[str, str]) -> DictConfig:
    settings: dict[str, Any] = {
        **dict.fromkeys(("train_document", "train_store", "val_document", "val_store"), ""),
        "label": "Pretraining",
        "accelerator": accelerator(),
        "queries": TINY.queries,
        "frozen": [],
        "initial": None,
    }
    packaged = compose_recipe("pretrain", _SECTIONS, {**settings, **run})
    packaged.trainer.data.train.dataset = packaged.scenes.train
    packaged.trainer.data.validation = packaged.trainer.data.prediction = packaged.scenes.val
    return packaged


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
    """Return the numbers of the recipe, without the folders of this machine."""
    return {
        name: OmegaConf.to_container(recipe.scratch[name]) for name in ("model", "train", "phase")
    }


def _publish(
    trainer: PhaseTrainer, recipe: DictConfig, found: Sequence[HeldOutAnswer], out: Path
) -> None:
    with replacing(out) as folder:
        folder.mkdir()
        save_weights(trainer.model.module, folder / WEIGHTS, half=True)
        card = {
            "sha256": sha256(folder / WEIGHTS),
            "licence": "Apache-2.0",
            "trained_on": "scenes drawn by sam3_angio.scenes; no picture of a patient or phantom",
            "minutes": trainer.history[-1]["minutes"],
            "workers": dist.get_world_size(),
            "processor": platform.machine(),
            "steps": trainer.steps["train"],
            "settings": _settings(recipe),
            "scenes": OmegaConf.to_container(recipe.scenes),
            "versions": versions(),
            "held_out": held_out_scores(found),
            "history": trainer.history,
        }
        write_json(folder / CARD, card)


def main(out: Annotated[Path, typer.Option(help="Folder of the weights.")]) -> None:
    """Pretrain the tiny model."""
    pretrain(out)


if __name__ == "__main__":
    record(run)(main)
