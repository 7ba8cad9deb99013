"""Which worker trains on which frames.

PyTorch's own sampler deals all frames out anew in each epoch, so that a worker seldom meets a
frame again that it has met before, and what a frozen backbone saw of it has to be computed once
more. Here a worker has the same share of the frames in every epoch, in another order each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed as dist
from sam3.train.data.torch_dataset import TorchDataset
from torch.utils.data import Sampler


class ShareSampler(Sampler[int]):
    """The places of one worker's frames, in the order of an epoch.

    Every worker has as many frames as the others: where they do not divide, some are in two shares.
    All follows from seed and epoch, so a resumed training goes on in the same order.

    Parameters
    ----------
    count : int
        Frames in all, at least one.
    worker, workers : int
    seed : int

    Examples
    --------
    >>> shares = [ShareSampler(5, worker, 2, seed=0) for worker in (0, 1)]
    >>> sorted({place for share in shares for place in share})
    [0, 1, 2, 3, 4]
    >>> [len(share) for share in shares]
    [3, 3]
    """

    def __init__(self, count: int, worker: int, workers: int, *, seed: int) -> None:
        dealt = np.random.default_rng(seed).permutation(count)
        self._share = np.resize(dealt, -(-count // workers) * workers)[worker::workers]
        self._worker = worker
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tell which epoch's order is asked for."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._share)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self._worker, self._epoch])
        yield from random.permutation(self._share).tolist()


class SharedFrames(TorchDataset):  # type: ignore[misc]
    """SAM 3's loaders of training frames, where a worker keeps its frames.

    Parameters
    ----------
    seed : int
    **options
        Of the stock class, but for ``shuffle``.
    """

    def __init__(self, *, seed: int, **options: Any) -> None:
        super().__init__(shuffle=True, enable_distributed_sampler=False, **options)
        self.sampler = ShareSampler(
            len(self.dataset), dist.get_rank(), dist.get_world_size(), seed=seed
        )
