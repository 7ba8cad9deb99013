"""The baseline's network in training: a U-Net that sees a frame and is told nothing.

A residual U-Net [1]_ of MONAI's with the sum of Dice and cross-entropy as its loss. It learns from
the pictures and masks that Phase 1 learns from, through the same data set.

Conventions
-----------
Pictures are (B, 1, S, S) floats from -1 to 1, masks (B, 1, S, S) of 0 and 1, answers logits of that
shape. The learning rate falls by half a cosine, step by step, to nothing. The random numbers of an
epoch are a function of seed and epoch, so a resumed training equals an uninterrupted one.

References
----------
.. [1] Kerfoot et al., "Left-ventricle quantification using residual U-Net", STACOM 2018.
   doi:10.1007/978-3-030-12029-0_40
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from sam3.train.data.sam3_image_dataset import Datapoint
from torch import nn
from torch.utils.data import DataLoader

from sam3_angio.detector.grey import normalised
from sam3_angio.detector.predict import dice
from sam3_angio.detector.progress import TrainingProgress
from sam3_angio.detector.queries import PreparedFrames
from sam3_angio.detector.runtime import accelerator, seed_everything
from sam3_angio.errors import AngioError, Fault
from sam3_angio.files import replacing

#: The place of a network's initial weights among the numbers that are drawn; epochs count from 0.
_INITIAL = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some frames; B of them, of side S.

    Attributes
    ----------
    pictures, masks : (B, 1, S, S) tensor
    image_ids : tuple of int
    """

    pictures: torch.Tensor
    masks: torch.Tensor
    image_ids: tuple[int, ...]


def collate(samples: Sequence[Datapoint]) -> Batch:
    """Make a batch of samples as Phase 1 has them: one grey channel, one mask a frame."""
    return Batch(
        pictures=torch.stack([normalised(sample.images[0].data) for sample in samples]),
        masks=torch.stack([_tree(sample) for sample in samples]),
        image_ids=tuple(
            int(sample.find_queries[0].inference_metadata.original_image_id) for sample in samples
        ),
    )


def _tree(sample: Datapoint) -> torch.Tensor:
    picture = sample.images[0]
    mask = torch.zeros(picture.data.shape)
    for target in picture.objects:
        mask = torch.maximum(mask, target.segment[None].to(mask.dtype))
    return mask


@dataclass(kw_only=True)
class UNetTraining:
    """A training that can be interrupted after each epoch.

    Parameters
    ----------
    recipe : DictConfig
        The packaged configuration ``baseline``, filled.
    state : Path
        File of the epochs that are done; read if it is there.

    Attributes
    ----------
    network : nn.Module
    history : list of dict
        Numbers of each epoch that is done.
    """

    recipe: DictConfig
    state: Path
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._device = torch.device(accelerator())
        self._phase, self._seed = self.recipe.scratch.phase, self.recipe.scratch.train.seed
        self._frames: PreparedFrames = instantiate(self.recipe.train)
        seed_everything(self._seed, 0, _INITIAL)
        self.network: nn.Module = instantiate(self.recipe.network).to(self._device)
        self._loss: nn.Module = instantiate(self.recipe.loss)
        self._optimiser = instantiate(self.recipe.optimiser, self.network.parameters())
        if self.state.is_file():
            self._resume()

    @property
    def epochs(self) -> int:
        """Epochs of the whole training."""
        return int(self._phase.epochs)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self._frames) // int(self._phase.batch_size)

    def _resume(self) -> None:
        content = torch.load(self.state, map_location=self._device, weights_only=True)
        self.network.load_state_dict(content["network"])
        self._optimiser.load_state_dict(content["optimiser"])
        self.history = content["history"]

    def is_validated(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 0, ends with a validation; the last one does."""
        return (epoch + 1) % int(self._phase.val_every) == 0 or epoch + 1 == self.epochs

    def train_epoch(self, progress: TrainingProgress) -> dict[str, float]:
        """Train the next epoch.

        Returns
        -------
        dict
            ``train/loss`` and ``train/grad_norm``, means of the steps, and the last ``train/lr``.

        Raises
        ------
        AngioError
            The loss or the gradient is not finite; with the frames of the batch.
        """
        epoch = len(self.history)
        seed_everything(self._seed, 0, epoch)
        self._frames.set_epoch(epoch)
        self.network.train()
        losses, norms = [], []
        for place, batch in enumerate(self._batches()):
            self._set_rate((epoch * self.steps + place) / (self.epochs * self.steps))
            loss, norm = self._step(batch)
            losses.append(loss)
            norms.append(norm)
            progress.step()
        rate = float(self._optimiser.param_groups[0]["lr"])
        return {"train/loss": _mean(losses), "train/grad_norm": _mean(norms), "train/lr": rate}

    def _batches(self) -> Iterator[Batch]:
        yield from DataLoader(
            self._frames,
            batch_size=int(self._phase.batch_size),
            shuffle=True,
            drop_last=True,
            num_workers=int(self.recipe.scratch.run.loader_workers),
            collate_fn=collate,
        )

    def _set_rate(self, where: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = float(self._phase.lr) * (1 + math.cos(math.pi * where)) / 2

    def _step(self, batch: Batch) -> tuple[float, float]:
        self._optimiser.zero_grad()
        answer = self.network(batch.pictures.to(self._device))
        loss = self._loss(answer, batch.masks.to(self._device))
        loss.backward()
        clip = float(self._phase.clip)
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), clip))
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            raise self._not_finite(batch)
        self._optimiser.step()
        return loss.item(), norm

    def _not_finite(self, batch: Batch) -> AngioError:
        frames = [self._frames.name_of(image_id) for image_id in batch.image_ids]
        return AngioError(
            f"The baseline stopped in epoch {len(self.history) + 1}: the loss or its gradient is "
            "not finite. The last checkpoint is good. Lower train_baseline.lr (now "
            f"{float(self._phase.lr):.2g}) or train_baseline.clip.",
            [Fault(file="batch", field=frame, message="in it") for frame in frames],
        )

    def end_epoch(self, record: dict[str, float]) -> None:
        """Count the epoch as done and save the training."""
        self.history.append(record)
        content = {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "history": self.history,
        }
        with replacing(self.state) as temporary:
            torch.save(content, temporary)

    def mean_dice(self, samples: PreparedFrames) -> float:
        """Return the mean Dice against the labels, at the model's resolution."""
        return _mean([dice(logits > 0, mask) for _, mask, logits in self.answers(samples)])

    @torch.no_grad()
    def answers(
        self, samples: PreparedFrames, places: Sequence[int] | None = None
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield of frames, by default of all, the id, the (S, S) label and the (S, S) logits."""
        self.network.eval()
        for place in range(len(samples)) if places is None else places:
            batch = collate([samples[place]])
            logits = self.network(batch.pictures.to(self._device))[0, 0].cpu()
            yield batch.image_ids[0], batch.masks[0, 0] > 0, logits


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def confidence(logits: torch.Tensor) -> float:
    """Return the mean probability of the pixels that are marked; 0 if none is.

    A U-Net has no word on whether there is a vessel at all; this stands for it.

    Parameters
    ----------
    logits : (S, S) tensor

    Examples
    --------
    >>> confidence(torch.tensor([[-3.0, 0.5], [-9.0, -1.0]]))  # one pixel, the logistic of 0.5
    0.6224...
    """
    marked = logits[logits > 0]
    return float(marked.sigmoid().mean()) if len(marked) else 0.0


def describe(network: nn.Module) -> dict[str, Any]:
    """Return how many numbers a network has, and how many of them were trained."""
    weights = list(network.parameters())
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "parameters_trained": sum(w.numel() for w in weights if w.requires_grad),
    }
