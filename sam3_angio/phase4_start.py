"""Which model Phase 4 starts from: ``predictions/start.json``.

The choice is made apart from the training, so that a changed score retrains nothing unless it
changes the choice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from sam3_angio.files import write_json
from sam3_angio.strict_json import read_json

Start = Literal["phase2", "none"]

#: Folder under ``models`` and ``predictions`` of each model that Phase 4 can start from.
FOLDERS: dict[Start, str] = {"phase2": "phase2", "none": "phase3/none"}

_MAX_BYTES = 2**20
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartScores:
    """A candidate's scores on the validation frames.

    Attributes
    ----------
    top1 : float
        Part of the frames whose annotated segment got its name.
    dice : float or None
        Mean over the annotated segments, as drawn when asked for; None where undefined.
    frames : int
    """

    top1: _Share
    dice: _Share | None
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChoice:
    """The choice.

    Attributes
    ----------
    start : {"phase2", "none"}
        The chosen model: Phase 2's, or that of Phase 3's arm which is told no view.
    asked : str
        ``train_phase4.start``.
    scores : dict of str to StartScores
        Of the candidates; empty where the start was given by name.
    """

    start: Start
    asked: Literal["auto", "phase2", "none"]
    scores: dict[Start, StartScores]

    @property
    def folder(self) -> str:
        """Return where the model lies under ``models``."""
        return FOLDERS[self.start]


_SCHEMA = TypeAdapter(StartChoice)


def write_choice(path: Path, choice: StartChoice) -> None:
    """Write the choice."""
    write_json(path, asdict(choice))


def read_choice(path: Path) -> StartChoice:
    """Read the choice.

    Raises
    ------
    DataError
        The file is missing or not valid.
    """
    return read_json(path, _SCHEMA, _MAX_BYTES)
