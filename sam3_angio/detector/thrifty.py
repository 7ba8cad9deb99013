"""SAM 3 that makes masks, in training, only where something can be learnt from them.

The mask losses look at queries that have a target and skip the others, yet the stock model makes
masks for all. With one true and two false phrases a frame, two thirds of the mask head's work and
memory are for nothing; no loss and no gradient changes when that is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from sam3.model.sam3_image import Sam3Image


class ThriftySam3Image(Sam3Image):  # type: ignore[misc]
    """SAM 3 without the masks of queries that have no target; in training only.

    Such a query gets masks of zeros, so that shapes are the stock model's.
    """

    _wanted: torch.Tensor | None = None

    def forward_grounding(
        self, backbone_out: Any, find_input: Any, find_target: Any, *args: Any, **options: Any
    ) -> Any:
        """Answer the queries of a batch; remember meanwhile which of them have a target."""
        self._wanted = _with_target(find_target) if self.training else None
        return super().forward_grounding(backbone_out, find_input, find_target, *args, **options)

    def _run_segmentation_heads(self, out: dict[str, Any], **inputs: Any) -> None:
        wanted = self._wanted
        if wanted is None:
            super()._run_segmentation_heads(out=out, **inputs)
            return
        for name in ("img_ids", "prompt_mask"):  # queries come first
            inputs[name] = inputs[name][wanted]
        for name in ("encoder_hidden_states", "prompt", "hs"):  # queries come second
            inputs[name] = inputs[name][:, wanted]
        made: dict[str, Any] = {}
        super()._run_segmentation_heads(out=made, **inputs)
        for name, masks in made.items():
            out[name] = masks if masks is None else _spread(masks, wanted)


def _with_target(find_target: Any) -> torch.Tensor | None:
    """Return which queries have a target, or one to avoid; None where that spares nothing.

    One query is always kept, so that a batch without any target runs through the same code.
    """
    wanted: torch.Tensor = (find_target.num_boxes > 0) | ~find_target.is_exhaustive
    if not wanted.any():
        wanted[0] = True
    return None if wanted.all() else wanted


def _spread(masks: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Put masks at the places of their queries, among zeros."""
    full = masks.new_zeros((len(wanted), *masks.shape[1:]))
    return full.index_copy(0, wanted.nonzero()[:, 0], masks)
