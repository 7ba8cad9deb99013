"""The model that Phase 4 starts from, and why: ``predictions/phase4/choice.json``.

A candidate is judged by the validation scores that its own training recorded at its end, on the
expert's labels, which exist for any data: decisive is the mean Dice of the annotated segment's
instance, asked for by name, for a lesion is looked for in a segment; then how often a phrase was
rightly said to be there or not. A tie goes to the candidate that is listed first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from sam3_angio.errors import ConfigError
from sam3_angio.files import write_json
from sam3_angio.strict_json import read_json

Start = Literal["phase2", "none"]
Asked = Literal["auto", "phase2", "none"]

#: Folder under ``models`` of each model that Phase 4 can start from.
FOLDERS: dict[Start, str] = {"phase2": "phase2", "none": "phase3/none"}

_MAX_BYTES = 2**20
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartScores:
    """A candidate's scores on the validation frames, at the end of its training.

    Attributes
    ----------
    dice : float
        Mean over the annotated segments, of the best-scored instance.
    presence_accuracy : float
        Part of the queries whose phrase was rightly said to be there or not.
    """

    dice: _Share
    presence_accuracy: _Share


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
    asked: Asked
    scores: dict[Start, StartScores]

    @property
    def folder(self) -> str:
        """Return where the model lies under ``models``."""
        return FOLDERS[self.start]


class _LastEpoch(BaseModel):
    dice: _Share = Field(alias="val/dice_instance")
    presence_accuracy: _Share = Field(alias="val/presence_accuracy")


class _Metadata(BaseModel):
    """What is needed of a model's ``metadata.json``."""

    last_epoch: _LastEpoch


_CHOICE = TypeAdapter(StartChoice)
_METADATA = TypeAdapter(_Metadata)


def choose_start(asked: Asked, models: Path) -> StartChoice:
    """Return what Phase 4 starts from.

    Parameters
    ----------
    asked : {"auto", "phase2", "none"}
        ``train_phase4.start``.
    models : Path
        Folder of the models.

    Raises
    ------
    AngioError
        There is no model to start from, or what its training recorded is not valid.
    """
    if asked != "auto":
        return StartChoice(start=asked, asked=asked, scores={})
    scores = {
        name: _scores(models / folder / "metadata.json")
        for name, folder in FOLDERS.items()
        if (models / folder).is_dir()
    }
    return StartChoice(start=best_start(scores), asked=asked, scores=scores)


def _scores(metadata: Path) -> StartScores:
    last = read_json(metadata, _METADATA, _MAX_BYTES).last_epoch
    return StartScores(dice=last.dice, presence_accuracy=last.presence_accuracy)


def best_start(scores: Mapping[Start, StartScores]) -> Start:
    """Return the candidate of the highest Dice, then presence accuracy.

    Raises
    ------
    ConfigError
        There is no candidate.

    Examples
    --------
    >>> low = StartScores(dice=0.6, presence_accuracy=0.9)
    >>> high = StartScores(dice=0.7, presence_accuracy=0.8)
    >>> best_start({"phase2": low, "none": high})
    'none'
    """
    if not scores:
        raise ConfigError("There is no model that Phase 4 could start from; train Phase 2 first.")
    return max(scores, key=lambda name: (scores[name].dice, scores[name].presence_accuracy))


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
    return read_json(path, _CHOICE, _MAX_BYTES)
