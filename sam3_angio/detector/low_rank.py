"""Fine-tuning a vision transformer by what is added to its layers, of low rank.

A layer ``y = W x + b`` stays as it is and learns ``B A x`` besides, where A and B have few rows and
columns: the optimiser keeps state for a hundredth of the numbers. B is zero at first, so that the
model starts as the very function that it was.

Conventions
-----------
A layer's own weights keep their names; beside ``weight`` there are ``lora_a``, (rank, inputs), and
``lora_b``, (outputs, rank). Nothing scales the product, so that ``weight + lora_b @ lora_a`` is the
merged layer, whatever the rank; a published model is merged and has no name that ``sam3`` lacks.

References
----------
Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn
from torch.nn import functional

_A, _B = ".lora_a", ".lora_b"


class LowRankLinear(nn.Linear):
    """A linear layer that stays, and what it learns besides.

    Parameters
    ----------
    layer : nn.Linear
        Whose weights are taken over, not copied.
    rank : int
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__(
            layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta"
        )
        self.weight, self.bias = layer.weight, layer.bias
        self.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.empty(rank, layer.in_features))
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.normal_(self.lora_a, std=layer.in_features**-0.5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the layer and the addition make of inputs, (…, outputs)."""
        added = functional.linear(functional.linear(inputs, self.lora_a), self.lora_b)
        return super().forward(inputs) + added


def add_low_rank(module: nn.Module, rank: int, targets: Collection[str]) -> None:
    """Let the linear layers of a module learn by addition only, in place.

    Parameters
    ----------
    module : nn.Module
    rank : int
    targets : collection of str
        Last parts of the names of these layers, such as ``qkv``.
    """
    layers = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in targets
    ]
    for name, layer in layers:
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, LowRankLinear(layer, rank))


def low_rank_names(names: Collection[str]) -> frozenset[str]:
    """Return those names of weights that are additions to layers."""
    return frozenset(name for name in names if name.endswith((_A, _B)))


def merged(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in which each addition is part of its layer's own weight.

    Parameters
    ----------
    state : mapping of str to tensor
        Weights by name; without additions they come back as they are.
    """
    added = low_rank_names(state.keys())
    whole = {name: value for name, value in state.items() if name not in added}
    for name in sorted(added):
        layer, found, _ = name.rpartition(_B)
        if found:
            whole[f"{layer}.weight"] = state[f"{layer}.weight"] + state[name] @ state[layer + _A]
    return whole
