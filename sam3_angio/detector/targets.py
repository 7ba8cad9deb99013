"""Batches without any target: a case that ``sam3``'s collator leaves half done."""

from __future__ import annotations

from typing import Any


def give_shape(batch: Any) -> None:
    """Give the masks of a batch without any the shape (0, R, R), in place.

    The collator stacks masks, and of none it makes a tensor of shape (0,), at which the mask
    losses stop.

    Parameters
    ----------
    batch : BatchedDatapoint
    """
    for targets in batch.find_targets:
        if targets.segments is not None and not len(targets.segments):
            targets.segments = targets.segments.new_zeros((0, *batch.img_batch.shape[-2:]))
