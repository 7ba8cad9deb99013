"""Weights in files: saved without anything else, loaded without tolerance.

A weights file holds ``{"model": state_dict}`` of tensors and nothing that would have to be
unpickled into code. ``sam3``'s own loader keeps only what it knows and says nothing of the rest;
here a missing, an unexpected or a misshapen key is an error.

Meta's ``sam3.pt`` is read too. It holds the whole video model, the detector's names beginning with
``detector.`` and the tracker's with ``tracker.``; the detector's are loaded, as strictly.

Conventions
-----------
The rotary position tables of the vision transformer follow from the resolution alone. A model that
sees another resolution than the file's keeps its own, and the log names them.
"""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.distributed as dist
from torch import nn

from sam3_angio.detector.low_rank import low_rank_names, merged
from sam3_angio.errors import ConfigError, Fault
from sam3_angio.files import replacing

#: How the detector's names begin in Meta's files.
DETECTOR = "detector."

#: What Meta's file holds for tracking in videos, the second neck of the vision backbone included.
_TRACKING = ("tracker.", f"{DETECTOR}backbone.vision_backbone.sam2_convs.")
_POSITION_TABLE = ".attn.freqs_cis"
_SHOWN = 10
_LOG = logging.getLogger(__name__)


def save_weights(model: nn.Module, path: Path, *, half: bool = False) -> None:
    """Write a model's weights and buffers, what was added to layers merged into them.

    Parameters
    ----------
    model : nn.Module
    path : Path
    half : bool
        Whether real numbers are kept in half precision, for a file of half the size.
    """
    state = merged({name: value.detach().cpu() for name, value in model.state_dict().items()})
    if half:
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in state.items()
        }
    # Given a path, torch writes the file's name into the file, here that of the temporary one.
    with replacing(path) as temporary, temporary.open("wb") as stream:
        torch.save({"model": state}, stream)


def load_weights(model: nn.Module, path: Path, *, added: str | None = None) -> None:
    """Load weights written by :func:`save_weights`, or Meta's ``sam3.pt``.

    Parameters
    ----------
    model : nn.Module
    path : Path
    added : str or None
        How the names of those weights begin that the file may lack, because the model has been
        given them since. A file that has some of them must have all. The same goes for what is
        added to layers of low rank, which a model without such additions takes merged.

    Raises
    ------
    ConfigError
        The file cannot be read, or does not hold just the model's keys in just its shapes.
    """
    state, rebuilt = _fitted(path.name, read_weights(path), model.state_dict(), added)
    if rebuilt:
        _log(
            f"{path.name}: position tables of another resolution, built anew: {', '.join(rebuilt)}."
        )
    model.load_state_dict(state, strict=True)


def require_loadable(
    path: Path, own: Mapping[str, torch.Tensor], *, added: str | None = None
) -> None:
    """Refuse what :func:`load_weights` would refuse, without reading the numbers.

    Of a file that was cut short the list of contents, which is at its end, is missing.

    Parameters
    ----------
    path : Path
    own : mapping
        Weights of the model, which may be on ``meta``.
    added : str or None
        As for :func:`load_weights`.

    Raises
    ------
    ConfigError
        As from :func:`load_weights`.
    """
    detector, _ = _of_detector(_read(path, mapped=True))
    shapes = {name: value.to("meta") for name, value in detector.items()}
    _fitted(path.name, shapes, {name: value.to("meta") for name, value in own.items()}, added)


def _fitted(
    file: str,
    state: Mapping[str, torch.Tensor],
    own: Mapping[str, torch.Tensor],
    added: str | None,
) -> tuple[Mapping[str, torch.Tensor], list[str]]:
    """Return a file's weights as a model takes them, and which it builds anew instead."""
    low_rank = low_rank_names(own.keys())
    if not low_rank:
        state = merged(state)
    since = {name for name in own if added and name.startswith(added)}
    for names in (since, low_rank):
        if not names & state.keys():
            state = {**state, **{name: own[name] for name in names}}
    rebuilt = other_position_tables(state, own)
    state = {**state, **{name: own[name] for name in rebuilt}}
    require_fit(file, state, own)
    return state, rebuilt


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a detector's weights under the names that they have in the model.

    Parameters
    ----------
    path : Path
        Written by :func:`save_weights`, or Meta's ``sam3.pt``.

    Raises
    ------
    ConfigError
        The file is missing, cannot be read, or holds anything else.
    """
    detector, unused = _of_detector(_read(path))
    if unused:
        _log(f"{path.name}: {unused} weights of the video tracker are not used.")
    return detector


def other_position_tables(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> list[str]:
    """Return the names of the position tables that differ only in the number of positions.

    Parameters
    ----------
    state, own : mapping
        Weights of a file and of a model.
    """
    return [
        name
        for name in own
        if name.endswith(_POSITION_TABLE)
        and name in state
        and state[name].shape[0] != own[name].shape[0]
        and state[name].shape[1:] == own[name].shape[1:]
    ]


def require_fit(
    file: str, state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> None:
    """Refuse weights that are not just the model's keys in just its shapes.

    Parameters
    ----------
    file : str
        Name of the file, for the message.
    state, own : mapping
        Weights of the file and of the model; those of the model may be on ``meta``.

    Raises
    ------
    ConfigError
        With the number of misfits and the first ten.
    """
    faults = [
        *(_fault(file, name, "missing in the file") for name in sorted(own.keys() - state.keys())),
        *(_fault(file, name, "not in the model") for name in sorted(state.keys() - own.keys())),
    ]
    for name in sorted(own.keys() & state.keys()):
        if state[name].shape != own[name].shape:
            shapes = (
                f"{tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
            )
            faults.append(_fault(file, name, shapes))
    if faults:
        raise ConfigError(
            f"{file} does not fit the model ({len(faults)} weights):", faults[:_SHOWN]
        )


def _of_detector(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int]:
    """Return a detector's weights under the model's names, and how many are the tracker's."""
    if not any(name.startswith(DETECTOR) for name in weights):
        return weights, 0
    detector = {
        name.removeprefix(DETECTOR): value
        for name, value in weights.items()
        if not name.startswith(_TRACKING)
    }
    return detector, len(weights) - len(detector)


def _read(path: Path, *, mapped: bool = False) -> dict[str, torch.Tensor]:
    """Read a file of weights; if `mapped`, their numbers only where they are looked at."""
    try:
        content: Any = torch.load(
            path,
            map_location="cpu",
            weights_only=True,
            mmap=mapped and zipfile.is_zipfile(path),  # older files cannot be mapped
        )
    except FileNotFoundError:
        raise ConfigError(f"The checkpoint {path.name} is missing.") from None
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError):
        raise ConfigError(f"{path.name} is not a readable file of weights.") from None
    # Meta's builders take both forms: weights by name, and those under "model".
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not _is_weights(weights):
        raise ConfigError(f"{path.name} holds no 'model' weights.")
    return weights


def _is_weights(content: object) -> TypeGuard[dict[str, torch.Tensor]]:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(
            isinstance(name, str) and isinstance(value, torch.Tensor)
            for name, value in content.items()
        )
    )


def _fault(file: str, name: str, message: str) -> Fault:
    return Fault(file=file, field=name, message=f"{message}.")


def _log(message: str) -> None:
    """Log once, not once a worker."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        _LOG.warning(message)
