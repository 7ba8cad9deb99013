"""A step whose frames pass the model in several parts, with the gradient of the whole step.

Parts are what ``sam3``'s trainer passes one after the other, and what each worker has of a step.
Their gradients are added up or averaged, while each part's losses are means over the part: over its
queries, and its queries that show something. A sum of such means is neither the mean nor the sum
over the step, and a part with few queries counts as much as one with many. Here each mean is taken
over the share of the whole step that falls to a part; the parts' mean is then the loss of the whole
step, however many workers there are.

Conventions
-----------
With one worker and one part, and where all parts have as many of everything, nothing differs from
the stock trainer. The gradients of a worker's parts are added up by the trainer, and divided by
their number with :func:`average_gradients`; those of workers are averaged by PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from sam3.train.loss.loss_fns import CORE_LOSS_KEY
from sam3.train.loss.sam3_loss import Sam3LossWrapper
from torch import nn

from sam3_angio.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the means of a loss are taken over.

    Attributes
    ----------
    boxes, queries : int
    shown : int
        Queries that show something.
    claimable : int
        Pixels of labels that queries of which it is not certain what they show must not claim.
    """

    boxes: int
    queries: int
    shown: int
    claimable: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """All counts, in the order of the attributes."""
        return astuple(self)

    @staticmethod
    def of(numbers: Iterable[int]) -> Counts:
        """Make counts of their numbers."""
        boxes, queries, shown, claimable = numbers
        return Counts(boxes=boxes, queries=queries, shown=shown, claimable=claimable)


def added_up(parts: Iterable[Counts]) -> Counts:
    """Return the counts of parts together."""
    columns = zip(*(part.numbers for part in parts), strict=True)
    return Counts.of(sum(column) for column in columns)


def counts_of(part: Any) -> Counts:
    """Count what a part of a step asks and shows.

    Parameters
    ----------
    part : BatchedDatapoint
        Of images, in the main memory.
    """
    targets = part.find_targets[0]
    boxes, uncertain, marks = targets.num_boxes, ~targets.is_exhaustive, targets.semantic_segments
    has_marks = marks is not None and len(marks) > 0 and bool(uncertain.any())
    return Counts(
        boxes=int(boxes.sum()),
        queries=len(boxes),
        shown=int((boxes > 0).sum()),
        claimable=int(marks[uncertain].sum()) if has_marks else 0,
    )


class InParts:
    """A collator that makes several batches of the samples of a step.

    Parameters
    ----------
    collate : callable
        Makes a batch of samples.
    parts : int
    """

    def __init__(self, collate: Callable[[list[Any]], Any], parts: int) -> None:
        self._collate = collate
        self._parts = parts

    def __call__(self, samples: list[Any]) -> list[Any]:
        """Make batches of equally many samples.

        Raises
        ------
        ConfigError
            The samples cannot be divided so.
        """
        if len(samples) % self._parts:
            raise ConfigError(
                f"A step of {len(samples)} frames cannot pass in {self._parts} equal parts: set "
                "batch_size to a multiple of train.parts in params.yaml."
            )
        return [self._collate(samples[part :: self._parts]) for part in range(self._parts)]


class StepLoss(Sam3LossWrapper):  # type: ignore[misc]
    """SAM 3's loss of a part of a step, its means taken over the part's share of the whole.

    Parameters
    ----------
    loss_fns_find : sequence of nn.Module
        Of boxes, classification and masks, in this order.
    loss_fn_semantic_seg : nn.Module
    **options
        Of the stock loss.
    """

    def __init__(
        self,
        *,
        loss_fns_find: Sequence[nn.Module],
        loss_fn_semantic_seg: nn.Module,
        **options: Any,
    ) -> None:
        boxes, classes, masks = loss_fns_find
        of_queries, of_shown = _Weighted(classes), _Weighted(loss_fn_semantic_seg)
        super().__init__(
            loss_fns_find=[boxes, of_queries, masks], loss_fn_semantic_seg=of_shown, **options
        )
        self._of_queries, self._of_shown = of_queries, of_shown
        self._parts: list[Counts] = []
        self._whole: Counts | None = None
        self._count = 1

    def begin_step(self, parts: Sequence[Counts], whole: Counts, workers: int) -> None:
        """Say what the step is made of.

        Parameters
        ----------
        parts : sequence of Counts
            Of this worker's parts, in their order.
        whole : Counts
            Of all workers' parts.
        workers : int
            How many workers have as many parts each.
        """
        self._parts, self._whole = list(parts), whole
        self._count = workers * len(parts)

    def forward(self, find_stages: Any, find_targets: Any) -> Any:
        """Return the losses of the next part."""
        if self._whole is not None:
            part = self._parts.pop(0)
            self._of_queries.weight = self._share(part.queries, self._whole.queries)
            self._of_shown.weight = self._share(part.shown, self._whole.shown)
            self._of_shown.weights = {
                "loss_rival": self._share(part.claimable, self._whole.claimable)
            }
        return super().forward(find_stages, find_targets)

    def _share(self, own: int, whole: int) -> float:
        """Return how much more a part counts than parts do on average."""
        return self._count * own / max(1, whole)

    def _get_num_boxes(self, targets: Any) -> Any:
        """Return the boxes of a part on average."""
        if self._whole is None:
            return super()._get_num_boxes(targets)
        mean = max(1, self._whole.boxes) / self._count
        return torch.tensor(mean, device=targets["num_boxes"].device)


class _Weighted(nn.Module):
    """A loss, its values times a weight.

    Attributes
    ----------
    weight : float
    weights : dict of float
        Of values that have another one.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self._loss = loss
        self._in_sum: Mapping[str, float] = loss.weight_dict  # type: ignore[assignment]
        self.weight = 1.0
        self.weights: dict[str, float] = {}

    def forward(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the weighted values by name, and their sum."""
        values = self._loss(*args, **options)
        weighted = {name: value * self.weight for name, value in values.items()}
        for name in self.weights.keys() & values.keys():
            weighted[name] = values[name] * self.weights[name]
            more = self.weights[name] - self.weight
            if more:
                weighted[CORE_LOSS_KEY] += self._in_sum[name] * more * values[name]
        return weighted


def average_gradients(model: nn.Module, parts: int) -> None:
    """Divide the gradients of a model, which parts of a step were added up in, by their number."""
    for weight in model.parameters():
        if weight.grad is not None:
            weight.grad.div_(parts)
