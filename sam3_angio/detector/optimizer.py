"""AdamW, its moments in 32 bits or in 8.

The two moments of each trained weight take eight bytes in single precision; quantised in blocks of
256, with a scale for each block, they take two. Weights and gradients stay in single precision.

Conventions
-----------
A tensor of fewer than 4096 numbers keeps its moments in 32 bits: it saves nothing and biases and
norms are the most sensitive.

References
----------
Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv 1711.05101.
Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv 2110.02861.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch


def adamw(
    parameters: Iterable[Any], *, kind: Literal["adamw", "adamw8bit"]
) -> torch.optim.Optimizer:
    """Return an optimiser; what the packaged configuration calls.

    Parameters
    ----------
    parameters : iterable
        Weights, or groups of them as PyTorch's optimisers take them.
    kind : {"adamw", "adamw8bit"}
        PyTorch's own, fused, or that of ``bitsandbytes``.
    """
    if kind == "adamw":
        return torch.optim.AdamW(parameters, fused=True)
    from bitsandbytes.optim.adamw import AdamW8bit

    small: Callable[..., torch.optim.Optimizer] = AdamW8bit
    return small(parameters)
