"""Grey pictures on their way to the model: bytes in one channel, floats in three at its door.

A picture of a batch is a twelfth as large as what the vision transformer takes; that is what is
copied to the device, and what a remembered picture is found by.

Conventions
-----------
Grey values 0 to 255 become -1 to 1: mean 0.5 and deviation 0.5 of the range 0 to 1, as ``sam3``
normalises.
"""

from __future__ import annotations

import torch
from sam3.model.vitdet import ViT


def normalised(values: torch.Tensor) -> torch.Tensor:
    """Return grey values as the model takes them.

    Parameters
    ----------
    values : (..., R, C) tensor of uint8

    Returns
    -------
    (..., R, C) tensor of float32

    Examples
    --------
    >>> normalised(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return values.float().div_(127.5).sub_(1)


class GreyViT(ViT):  # type: ignore[misc]
    """The vision transformer, which also takes pictures as bytes in one channel."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return feature maps.

        Parameters
        ----------
        x : (B, 1, R, R) tensor of uint8, or (B, 3, R, R) tensor of float
        """
        if x.dtype == torch.uint8:
            x = normalised(x).expand(-1, 3, -1, -1)
        features: list[torch.Tensor] = super().forward(x)
        return features
