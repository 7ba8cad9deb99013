"""SAM 3's own trainer, with what this project asks of a training.

:class:`PhaseTrainer` is ``sam3.train.trainer.Trainer``; its loop, its step, its checkpoints and its
optimiser are inherited. Added are: an epoch's random numbers as a function of the epoch, so that a
resumed training equals an uninterrupted one; validation by Dice over all workers; progress; a stop
on a loss that is not finite, naming the frames; and a checkpoint moved into place in one step.

Conventions
-----------
``where`` is the fraction of the training that is done, in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hydra.utils import instantiate
from sam3.train.optim.optimizer import GradientClipper as StockGradientClipper
from sam3.train.trainer import Trainer

from sam3_angio.detector.checkpoint import load_weights
from sam3_angio.detector.curves import CurveLogger
from sam3_angio.detector.keeping import best_epoch, is_exhausted, is_out_of_time
from sam3_angio.detector.panel import draw_panel, panel_places
from sam3_angio.detector.predict import answers, validate
from sam3_angio.detector.progress import TrainingProgress
from sam3_angio.detector.pulse import all_here
from sam3_angio.detector.runtime import seed_everything
from sam3_angio.detector.sharing import in_all, on_every_machine
from sam3_angio.detector.step_parts import (
    Counts,
    InParts,
    added_up,
    average_gradients,
    counts_of,
)
from sam3_angio.detector.targets import give_shape
from sam3_angio.detector.workers import summed_in_step
from sam3_angio.errors import AngioError, Fault
from sam3_angio.files import replacing

#: Numbers of ``sam3``'s losses that become curves, and their names there.
_CURVES = {
    "core_loss": "loss",
    "loss_ce": "classification",
    "presence_loss": "presence",
    "presence_dec_acc": "presence_accuracy",
    "loss_bbox": "box",
    "loss_giou": "giou",
    "loss_mask": "mask_focal",
    "loss_dice": "mask_dice",
    "loss_semantic_seg": "semantic_focal",
    "loss_semantic_dice": "semantic_dice",
    "loss_rival": "rival",
}

#: Parts of the model that learn at rates of their own, and what these are called.
_RATES = {
    "backbone.vision_backbone.": "lr_vision",
    "backbone.language_backbone.": "lr_text",
}
_STATE = "checkpoint.pt"


class WarmCosine:
    """Learning rate: a linear rise, then half a cosine down to a hundredth.

    Parameters
    ----------
    peak : float
    warmup : float
        Fraction of the training that the rise takes.
    """

    def __init__(self, peak: float, warmup: float) -> None:
        self._peak = peak
        self._warmup = warmup

    def __call__(self, where: float) -> float:
        """Return the rate at a fraction of the training.

        Examples
        --------
        >>> [round(WarmCosine(1.0, 0.5)(where), 3) for where in (0.0, 0.25, 0.5, 1.0)]
        [0.01, 0.5, 1.0, 0.01]
        """
        if where < self._warmup:
            return self._peak * max(0.01, where / self._warmup)
        fall = (where - self._warmup) / (1 - self._warmup)
        return self._peak * (0.01 + 0.99 * (1 + math.cos(math.pi * fall)) / 2)


class GradientClipper(StockGradientClipper):  # type: ignore[misc]
    """The stock clipper, which remembers the norm it found.

    Attributes
    ----------
    norms : list of float
        Of the steps since it was last emptied.
    """

    def __init__(self, max_norm: float) -> None:
        super().__init__(max_norm=max_norm)
        self.norms: list[float] = []

    def __call__(self, model: torch.nn.Module) -> None:
        """Clip, and stop where a gradient is not finite.

        Raises
        ------
        FloatingPointError
            A gradient is infinite or no number: a step would spoil every weight.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), self.max_norm))
        if not math.isfinite(norm):
            raise FloatingPointError("the gradient is not finite")
        self.norms.append(norm)


class Watched:
    """A loader that reports each step that was done with it.

    Attributes
    ----------
    taken : int
        Batches that were taken from it.
    """

    def __init__(self, loader: Any, progress: TrainingProgress) -> None:
        self._loader = loader
        self._progress = progress
        self.taken = 0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            self.taken += 1
            yield batch
            self._progress.step()


class PhaseTrainer(Trainer):  # type: ignore[misc]
    """SAM 3's trainer for one phase.

    Parameters
    ----------
    seed : int
    val_every : int
        Epochs between validations; the last epoch is always followed by one.
    patience : int
        Validations without a better score after which the training ends; 0 for all epochs.
    max_minutes : float
        After which the next validation ends the training; 0 never does.
    keep : {"last", "best"}
        The epoch whose weights the trained model has.
    initial : str or None
        Weights to start from.
    added : str or None
        How the names of those weights begin that the initial ones may lack.
    label : str
        Name of the phase, for people.
    precision : {"float32", "bfloat16"}
        Of a step's arithmetic; weights, gradients and validation are always ``float32``.
    parts : int
        In which a step's frames pass, one after the other.
    **options
        Of the stock trainer.
    """

    def __init__(  # noqa: PLR0913 - all by name, from the configuration
        self,
        *,
        seed: int,
        val_every: int,
        patience: int,
        max_minutes: float,
        keep: str,
        initial: str | None,
        added: str | None,
        label: str,
        precision: str,
        parts: int,
        **options: Any,
    ) -> None:
        self._seed = seed
        self._val_every = val_every
        self._patience = patience
        self._max_minutes = max_minutes
        self._keep = keep
        self._initial = initial
        self._added = added
        self._label = label
        self._precision = precision
        self._parts = parts
        self._batch_frames: list[str] = []
        self.history: list[dict[str, float]] = []
        super().__init__(gradient_accumulation_steps=parts, **options)
        self.curves: CurveLogger = self.logger.tb_logger
        self.curves.replay(self.history)

    def _setup_torch_dist_and_backend(self, cuda_conf: Any, distributed_conf: Any) -> None:
        del cuda_conf, distributed_conf  # set before, with a time-out in seconds
        self.rank = dist.get_rank()

    def _setup_dataloaders(self) -> None:
        super()._setup_dataloaders()
        self.validation = instantiate(self.data_conf.validation)
        self.collate = self.train_dataset.collate_fn
        if self._parts > 1:
            self.train_dataset.collate_fn = InParts(self.collate, self._parts)
        steps = len(self.train_dataset.get_loader(epoch=0))
        self._progress = TrainingProgress(
            label=self._label, epochs=self.max_epochs, steps=steps, shown=self.rank == 0
        )

    def _init_model_state(self) -> None:
        super()._init_model_state()
        if self._initial:
            load_weights(self.model, Path(self._initial), added=self._added)

    def train_epoch(self, train_loader: Any) -> dict[str, float]:
        """Train one epoch and, when it is due, validate.

        Raises
        ------
        AngioError
            The loss or a gradient is not finite; with the frames of the batch.
        """
        seed_everything(self._seed, self.rank, self.epoch)
        self.gradient_clipper.norms.clear()
        self._progress.begin_epoch(self.epoch)
        self._batches = Watched(train_loader, self._progress)
        try:
            outs = super().train_epoch(self._batches)
        except FloatingPointError as error:
            raise self._not_finite(error) from None
        record = self._record(outs)
        if (self.epoch + 1) % self._val_every == 0 or self.epoch + 1 == self.max_epochs:
            collate = self.collate
            record.update(validate(self.model.module, self.validation, self.device, collate))
            self._show_panel(collate)
        record["minutes"] = round(self._minutes(), 3)
        self.history.append(record)
        self._progress.end_epoch(record)
        self._end_if_exhausted()
        return record

    def _minutes(self) -> float:
        """Return the slowest worker's minutes, so that all of them end in the same epoch."""
        minutes = torch.tensor(self.time_elapsed_meter.val / 60)
        in_all(minutes, dist.ReduceOp.MAX)
        return float(minutes)

    def _show_panel(self, collate: Any) -> None:
        """Draw the fixed frames with what the model answers by now."""
        if self.rank == 0:
            places = panel_places(len(self.validation))
            found = answers(self.model.module, self.validation, places, self.device, collate)
            self.curves.log_panel(draw_panel(self.validation, places, found), self.epoch)

    def _not_finite(self, error: FloatingPointError) -> AngioError:
        rate = max(group["lr"] for group in self.optim.optimizer.param_groups)
        frames = [Fault(file="batch", field=frame, message="in it") for frame in self._batch_frames]
        return AngioError(
            f"{self._label} stopped in epoch {self.epoch + 1}, step {self.steps['train']}: {error}."
            f" {self._last_good()} The same training would come to the same point: lower the "
            f"learning rate (now {rate:.2g}) or 'clip' in params.yaml, or mend the labels of these "
            "frames, and run the stage again; it then starts afresh.",
            frames,
        )

    def _last_good(self) -> str:
        if not self.history:
            return "No epoch was finished."
        place = Path(*self._state_folder.parts[-3:], _STATE).as_posix()
        return (
            f"The state after epoch {len(self.history)} is kept in the folder of runs, {place}, "
            "and may be named as model.checkpoint."
        )

    def _end_if_exhausted(self) -> None:
        late = is_out_of_time(self.history, self._max_minutes)
        if late or is_exhausted(self.history, self._patience):
            self.max_epochs = len(self.history)
            self._progress.end_early(self.max_epochs, "out of time" if late else "no better since")

    def _run_step(self, batch: Any, phase: str, *args: Any, **options: Any) -> None:
        parts = [part for chunk in _chunks(batch) for part in chunk.values()]
        self._batch_frames = self._frames_of(parts)
        for part in parts:
            give_shape(part)
        self._begin_step([counts_of(part) for part in parts])
        super()._run_step(batch, phase, *args, **options)
        if self._parts > 1:
            average_gradients(self.model, self._parts)

    def _begin_step(self, parts: Sequence[Counts]) -> None:
        """Tell the loss what the step is made of, over all workers."""
        whole = summed_in_step(self._batches.taken, added_up(parts).numbers)
        self.loss["angio"].begin_step(parts, Counts.of(whole), dist.get_world_size())

    def _step(self, batch: Any, model: Any, phase: str) -> Any:
        # The stock trainer's own setting is for CUDA only and scales the loss, as half precision
        # needs it; this one has the range of single precision.
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"
        ):
            return super()._step(batch, model, phase)

    def _frames_of(self, parts: Sequence[Any]) -> list[str]:
        ids = [
            int(image_id) for part in parts for image_id in part.find_metadatas[0].original_image_id
        ]
        name_of = self.train_dataset.dataset.name_of
        return [name_of(image_id) for image_id in dict.fromkeys(ids)]

    def _record(self, outs: dict[str, float]) -> dict[str, float]:
        """Average an epoch's numbers over the workers and give them short names."""
        record = {
            f"train/{short}": float(outs[f"Losses/train_angio_{long}"])
            for long, short in _CURVES.items()
        }
        record["train/grad_norm"] = _mean(self.gradient_clipper.norms)
        values = torch.tensor([record[name] for name in sorted(record)], dtype=torch.float64)
        in_all(values)
        mean = (values / dist.get_world_size()).tolist()
        record = dict(zip(sorted(record), mean, strict=True))
        return {**record, **self._rates()}

    def _rates(self) -> dict[str, float]:
        """Return the learning rates of detector, vision backbone and text encoder, if trained."""
        groups = self.optim.optimizer.param_groups
        rates = {weight: group["lr"] for group in groups for weight in group["params"]}
        return {
            _rate_name(name): float(rates[weight])
            for name, weight in self.model.module.named_parameters()
            if weight.requires_grad
        }

    @property
    def _state_folder(self) -> Path:
        return Path(self.checkpoint_conf.save_dir)

    def save_checkpoint(self, epoch: int, checkpoint_names: list[str] | None = None) -> None:
        """Let worker 0 write the state, while the others wait."""
        super().save_checkpoint(epoch, checkpoint_names)
        all_here()

    def _save_checkpoint(self, checkpoint: dict[str, Any], checkpoint_path: str) -> None:
        """Write the state, and the weights if they are the best so far.

        The best weights are named by their epoch, and older ones are removed when the state says
        that they are not the best any more: whenever the process is killed, the weights that the
        state calls the best are there.
        """
        checkpoint["history"] = self.history
        best = best_epoch(self.history) if self._keep == "best" else None
        if best is not None and best == self.epoch:
            with replacing(self._best_weights(best)) as temporary:
                torch.save({"model": checkpoint["model"]}, temporary)
        with replacing(Path(checkpoint_path)) as temporary:
            torch.save(checkpoint, temporary)
        for path in self._state_folder.glob("best_*.pt"):
            if best is None or path != self._best_weights(best):
                path.unlink()

    def _best_weights(self, epoch: int) -> Path:
        return self._state_folder / f"best_{epoch + 1}.pt"

    @property
    def kept_epoch(self) -> int:
        """Place in the history of the epoch whose weights the trained model has."""
        best = best_epoch(self.history) if self._keep == "best" else None
        return len(self.history) - 1 if best is None else best

    def load_checkpoint(self) -> None:
        """Load the state to resume from, if there is one; the others wait for a slow disk."""
        super().load_checkpoint()
        all_here()

    def _load_resuming_checkpoint(self, ckpt_path: str) -> None:
        super()._load_resuming_checkpoint(ckpt_path)
        state = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        self.history = state["history"]
        self.time_elapsed_meter.update(self.ckpt_time_elapsed)
        self._progress.resume(self.epoch)
        self._end_if_exhausted()

    def run(self) -> None:
        """Train to the last epoch, and take the weights of the one to keep."""
        with self._progress:
            super().run()
        if self.kept_epoch + 1 < len(self.history):
            on_every_machine(self._best_weights(self.kept_epoch))
            load_weights(self.model.module, self._best_weights(self.kept_epoch))


def _chunks(batch: Any) -> list[Any]:
    """Return the parts of a step, of which there is one where the batch is not a list."""
    return batch if isinstance(batch, list) else [batch]


def _rate_name(weight: str) -> str:
    for part, name in _RATES.items():
        if weight.startswith(part):
            return f"train/{name}"
    return "train/lr"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
