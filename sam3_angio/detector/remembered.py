"""What a frozen vision transformer sees in a picture, computed once a picture.

A frozen transformer gives the same features each time it is shown the same picture, and is most of
a step's work. Where pictures are not altered from epoch to epoch, every epoch after the first can
take them from memory. Features are found by the picture's content: an altered picture is another
one, so that nothing wrong can be found, and what does not fit into the memory is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import nn

Forward = Callable[[torch.Tensor], list[torch.Tensor]]


class RememberedFeatures:
    """A frozen transformer's output by the content of its pictures.

    Parameters
    ----------
    forward : callable
        From (B, 3, R, R) pictures to feature maps, each (B, C, G, G), where what is made of a
        picture does not depend on the others of the batch.
    limit_bytes : int
        What is kept, at most.
    """

    def __init__(self, forward: Forward, limit_bytes: int) -> None:
        self._forward = forward
        self._free_bytes = limit_bytes
        self._known: dict[bytes, list[torch.Tensor]] = {}

    @torch.no_grad()
    def __call__(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of a batch."""
        keys = [_key(picture) for picture in pictures]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        made = dict(zip(new, self._computed(pictures[new]), strict=True)) if new else {}
        maps = [
            made[place] if place in made else self._recalled(key, pictures)
            for place, key in enumerate(keys)
        ]
        for place, features in made.items():
            self._keep(keys[place], features)
        return [torch.stack(level) for level in zip(*maps, strict=True)]

    def _computed(self, pictures: torch.Tensor) -> list[list[torch.Tensor]]:
        levels = self._forward(pictures)
        return [[level[place] for level in levels] for place in range(len(pictures))]

    def _recalled(self, key: bytes, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [level.to(pictures.device) for level in self._known[key]]

    def _keep(self, key: bytes, features: list[torch.Tensor]) -> None:
        size = sum(level.numel() * level.element_size() for level in features)
        if key not in self._known and size <= self._free_bytes:
            self._free_bytes -= size
            # copies, so that the whole batch need not be kept
            self._known[key] = [level.cpu().clone() for level in features]


def remember(transformer: nn.Module, limit_mb: int) -> None:
    """Let a frozen transformer remember what it made of each picture.

    Names and values of its weights stay; the memory is filled from the first use on, so weights
    must be in their place by then.

    Parameters
    ----------
    transformer : Module
    limit_mb : int
        Memory of this process, in 10⁶ bytes; nothing is remembered at 0.
    """
    if limit_mb:
        transformer.forward = RememberedFeatures(transformer.forward, limit_mb * 10**6)


def _key(picture: torch.Tensor) -> bytes:
    values = picture.detach().cpu().contiguous().numpy()
    return hashlib.blake2b(values.tobytes(), digest_size=16).digest()
