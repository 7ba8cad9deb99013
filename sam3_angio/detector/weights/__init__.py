"""Weights to start from: those that ship with the package, Meta's, or a file of the user's.

``tiny.pt`` was made by ``sam3-angio pretrain-tiny`` (see :mod:`sam3_angio.detector.pretraining`);
``tiny.json`` is its card, with the scenes it saw, the minutes it took and its held-out scores.
"""

from __future__ import annotations

import json
from pathlib import Path

from sam3_angio.detector.weights.hub import published_weights
from sam3_angio.errors import ConfigError
from sam3_angio.files import sha256

_FOLDER = Path(__file__).parent
NONE, TINY, HUB = "none", "tiny", "hf"


def resolve(checkpoint: str) -> Path | None:
    """Return the file of ``model.checkpoint``, or None for random weights.

    Parameters
    ----------
    checkpoint : str
        ``none``, ``tiny`` for the weights in this package, ``hf`` for Meta's from the Hugging Face
        hub, or a path: a checkpoint of this project, or Meta's ``sam3.pt``.

    Raises
    ------
    ConfigError
        There is no such file, the hub refuses it, or the packaged weights are not those that their
        card describes.
    """
    if checkpoint == NONE:
        return None
    if checkpoint == TINY:
        return _packaged()
    if checkpoint == HUB:
        return published_weights()
    path = Path(checkpoint)
    if not path.is_file():
        raise ConfigError(
            "params.yaml, field 'model.checkpoint': no such file. "
            f"Give {NONE!r}, {TINY!r}, {HUB!r} or a path from the repository's root."
        )
    return path


def _packaged() -> Path:
    weights, card = _FOLDER / "tiny.pt", _FOLDER / "tiny.json"
    try:
        expected = json.loads(card.read_text(encoding="utf-8"))["sha256"]
        found = sha256(weights)
    except FileNotFoundError:
        raise ConfigError(
            "The packaged weights are missing. Install the package again, or make them with "
            "`sam3-angio pretrain-tiny`."
        ) from None
    if found != expected:
        raise ConfigError("The packaged weights tiny.pt are damaged: install the package again.")
    return weights
