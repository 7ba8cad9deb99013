"""Weights in files: saved without anything else, loaded without tolerance.

A weights file holds ``{"model": state_dict}`` of tensors and nothing that would have to be
unpickled into code. ``sam3``'s own loader keeps only what it knows and says nothing of the rest;
here a missing, an unexpected or a misshapen key is an error.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam3_angio.errors import ConfigError, Fault
from sam3_angio.files import replacing

_SHOWN = 10


def save_weights(model: nn.Module, path: Path, *, half: bool = False) -> None:
    """Write a model's weights and buffers.

    Parameters
    ----------
    model : nn.Module
    path : Path
    half : bool
        Whether real numbers are kept in half precision, for a file of half the size.
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    if half:
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in state.items()
        }
    # Given a path, torch writes the file's name into the file, here that of the temporary one.
    with replacing(path) as temporary, temporary.open("wb") as stream:
        torch.save({"model": state}, stream)


def load_weights(model: nn.Module, path: Path, *, added: str | None = None) -> None:
    """Load weights written by :func:`save_weights`.

    Parameters
    ----------
    model : nn.Module
    path : Path
    added : str or None
        How the names of those weights begin that the file may lack, because the model has been
        given them since. A file that has some of them must have all.

    Raises
    ------
    ConfigError
        The file cannot be read, or does not hold just the model's keys in just its shapes.
    """
    state = _read(path)
    own = model.state_dict()
    new = {name: value for name, value in own.items() if added and name.startswith(added)}
    if not new.keys() & state.keys():
        state = {**state, **new}
    faults = [
        *(_fault(path, name, "missing in the file") for name in sorted(own.keys() - state.keys())),
        *(_fault(path, name, "not in the model") for name in sorted(state.keys() - own.keys())),
    ]
    for name in sorted(own.keys() & state.keys()):
        if state[name].shape != own[name].shape:
            shapes = (
                f"{tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
            )
            faults.append(_fault(path, name, shapes))
    if faults:
        raise ConfigError(
            f"{path.name} does not fit the model ({len(faults)} weights):", faults[:_SHOWN]
        )
    model.load_state_dict(state, strict=True)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"The checkpoint {path.name} is missing.") from None
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError):
        raise ConfigError(f"{path.name} is not a readable file of weights.") from None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ConfigError(f"{path.name} holds no 'model' weights.")
    weights: dict[str, torch.Tensor] = content["model"]
    return weights


def _fault(path: Path, name: str, message: str) -> Fault:
    return Fault(file=path.name, field=name, message=f"{message}.")
