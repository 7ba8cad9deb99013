"""A step whose frames pass the model in several parts, for less memory and the same gradient.

``sam3``'s trainer passes a batch in parts and adds up their gradients. Each part's losses are means
over the part: over its boxes, its queries, and its queries that show something. A sum of such
means is neither the mean nor the sum over the batch, and a part with few boxes counts as much as
one with many. Here each mean is taken over the share of the whole step that falls to a part; the
parts' mean is then the loss of the whole step.

Conventions
-----------
With one part nothing differs from the stock trainer. The gradients of the parts are added up by
the trainer, and divided by their number with :func:`average_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sam3.train.loss.sam3_loss import Sam3LossWrapper
from torch import nn

from sam3_angio.errors import ConfigError


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
        self._whole: list[torch.Tensor] = []

    def begin_step(self, boxes_of_queries: Sequence[torch.Tensor]) -> None:
        """Say what the step is made of.

        Parameters
        ----------
        boxes_of_queries : sequence of (B,) tensor
            Of each part, how many targets each query has; of one part or none, the loss is stock.
        """
        self._whole = list(boxes_of_queries) if len(boxes_of_queries) > 1 else []

    def compute_loss(self, nested_out: Any, targets: Any) -> Any:
        """Return the losses of a part."""
        if self._whole:
            boxes = targets["num_boxes"]
            self._of_queries.weight = self._share(len, boxes)
            self._of_shown.weight = self._share(lambda part: int((part > 0).sum()), boxes)
        else:
            self._of_queries.weight = self._of_shown.weight = 1.0
        return super().compute_loss(nested_out, targets)

    def _share(self, count: Callable[[torch.Tensor], int], boxes: torch.Tensor) -> float:
        """Return how much more a part counts than parts do on average."""
        whole = sum(count(part) for part in self._whole)
        return len(self._whole) * count(boxes) / max(1, whole)

    def _get_num_boxes(self, targets: Any) -> Any:
        if not self._whole:
            return super()._get_num_boxes(targets)
        counts = torch.stack([part.sum() for part in self._whole]).to(targets["num_boxes"].device)
        whole = super()._get_num_boxes({"num_boxes": counts})
        return whole / len(self._whole)


class _Weighted(nn.Module):
    """A loss, its values times a weight."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self._loss = loss
        self.weight = 1.0

    def forward(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the weighted values by name."""
        return {name: value * self.weight for name, value in self._loss(*args, **options).items()}


def average_gradients(model: nn.Module, parts: int) -> None:
    """Divide the gradients of a model, which parts of a step were added up in, by their number."""
    for weight in model.parameters():
        if weight.grad is not None:
            weight.grad.div_(parts)
