"""Losses of queries of which it is not certain what the frame shows.

Where one segment a frame is labelled, nobody can say whether another segment of that artery is in
the picture; that it is not where the labelled one is, is known (see
:mod:`sam3_angio.rivals`). ``sam3`` has a mark for such queries, ``is_exhaustive``, and a place for
what they must leave alone, the semantic target; these are its losses that heed both.

Conventions
-----------
An uncertain query has no target of its own. It counts as "not there" with a weight of its own, and
its semantic mask pays for the part of the label that it claims: the mean over the label's pixels of
-log(1 - p).
"""

from __future__ import annotations

from typing import Any

import torch
from sam3.train.loss import loss_fns
from sam3.train.loss.loss_fns import IABCEMdetr, SemanticSegCriterion
from torch.nn import functional


class PhraseLoss(IABCEMdetr):  # type: ignore[misc]
    """SAM 3's loss of scores and presence, uncertain absences counting less.

    Parameters
    ----------
    doubt : float
        Weight of the presence of an uncertain query, in units of that of a certain one.
    **options
        Of the stock loss.
    """

    def __init__(self, *, doubt: float, **options: Any) -> None:
        super().__init__(**options)
        self._doubt = doubt

    def get_loss(
        self, outputs: Any, targets: Any, indices: Any, num_boxes: Any
    ) -> dict[str, torch.Tensor]:
        """Return the losses by name; the accuracy of the presence is that of certain queries."""
        losses: dict[str, torch.Tensor] = super().get_loss(outputs, targets, indices, num_boxes)
        certain = targets["is_exhaustive"]
        if bool(certain.all()) or "presence_logit_dec" not in outputs:
            return losses
        logits = outputs["presence_logit_dec"].flatten()
        shown = (targets["num_boxes"] > 0).to(logits)
        weights = torch.where(certain, 1.0, self._doubt).to(logits)
        # By the module, whose function is another one where there is no CUDA.
        each = loss_fns.sigmoid_focal_loss(
            logits[:, None],
            shown[:, None],
            num_boxes=1,
            alpha=self.presence_alpha,
            gamma=self.presence_gamma,
            reduce=False,
        )
        losses["presence_loss"] = (each[:, 0] * weights).mean()
        right = (logits > 0) == (shown > 0)
        losses["presence_dec_acc"] = right[certain].float().mean()
        return losses


class SemanticLoss(SemanticSegCriterion):  # type: ignore[misc]
    """SAM 3's loss of the semantic mask, and what uncertain queries claim of the label.

    The stock loss takes the mean over the queries that show something, and computes the others at
    the picture's size all the same; they are left out here beforehand.
    """

    def get_loss(self, out_dict: Any, targets: Any) -> dict[str, torch.Tensor]:
        """Return the losses by name."""
        certain, masks = targets["is_exhaustive"], out_dict["semantic_seg"]
        marks = targets["semantic_masks"]
        if marks is None or not len(marks):  # of other loaders, which leave it to the loss
            losses: dict[str, torch.Tensor] = super().get_loss(out_dict, targets)
            return {**losses, "loss_rival": masks.new_zeros(())}
        counted = certain & marks.flatten(1).any(dim=1)
        if not counted.any():
            counted = certain & (certain.cumsum(0) == 1)  # one, whose losses come out as zero
        shown = {**out_dict, "semantic_seg": masks[counted]}
        losses = super().get_loss(shown, {"semantic_masks": marks[counted]})
        return {**losses, "loss_rival": _claim(masks[~certain], marks[~certain])}


def _claim(masks: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log(1 - p) over marked pixels.

    Parameters
    ----------
    masks : (B, 1, M, M) tensor
        Logits.
    marks : (B, R, R) tensor of bool
    """
    if not marks.any():  # of no query, too
        return masks.new_zeros(())
    logits = functional.interpolate(
        masks.float(), size=marks.shape[-2:], mode="bilinear", align_corners=False
    )
    return functional.softplus(logits[:, 0][marks]).mean()
