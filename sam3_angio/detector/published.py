"""A model that a training phase published: what it is, and what it may be asked.

A published folder holds ``checkpoint.pt`` and ``config.yaml``, the configuration of its training
(``docs/reference/files.md``). Only plain values are read from it; nothing that it names is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.detector.build import ModelSpec, model_spec
from sam3_angio.errors import ConfigError
from sam3_angio.files import sha256
from sam3_angio.lesion_labels import LESION_CATEGORY
from sam3_angio.lesion_prompts import lesion_prompts
from sam3_angio.prompts import TREE_CATEGORY, Prompt, Segments, segment_numbers, segment_prompt
from sam3_angio.view_prompts import SILENT, phrase_with_view, spell_view

CHECKPOINT, CONFIG = "checkpoint.pt", "config.yaml"

#: What a model finds: the whole tree; segments by name; segments and lesions.
Task = Literal["tree", "segments", "findings"]

_TASKS: dict[str, Task] = {
    "sam3_angio.prompts.TreeQuestions": "tree",
    "sam3_angio.prompts.AllQuestions": "segments",
    "sam3_angio.lesion_prompts.WithLesions": "findings",
}

#: Ways of telling the view that need nothing but words (Phase 3).
_IN_WORDS = ("none", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A trained model on the disk.

    Attributes
    ----------
    label : str
        Which phase trained it, for people.
    checkpoint : Path
    digest : str
        SHA-256 of the checkpoint.
    spec : ModelSpec
    task : {"tree", "segments", "findings"}
    segments : {"analysed", "all"}
        Which segments it is asked for.
    instances : int
        How many of the best-scored instances of a phrase are kept.
    template : str
        How a phrase is asked; holds ``{phrase}`` and perhaps ``{view}``.
    round_deg : int
        Step to which the view is rounded.
    lesion_phrase : str
        How lesions are asked for, of each segment or of the frame
        (:func:`~sam3_angio.lesion_prompts.lesion_prompts`); where none are, empty.
    """

    label: str
    checkpoint: Path
    digest: str
    spec: ModelSpec
    task: Task
    segments: Segments
    instances: int
    template: str
    round_deg: int
    lesion_phrase: str

    @property
    def needs_view(self) -> bool:
        """Whether the model is told the view."""
        return "{view}" in self.template

    def prompts(self, view: ViewAngle | None) -> tuple[Prompt, ...]:
        """Return what the model is asked of a frame.

        Parameters
        ----------
        view : ViewAngle or None
            Of the frame; must be known where :attr:`needs_view`.
        """
        if self.task == "tree":
            return (Prompt(phrase=TREE_PHRASE, category_id=TREE_CATEGORY),)
        numbers = segment_numbers(self.segments)
        plain = [segment_prompt(number) for number in numbers]
        plain += lesion_prompts(self.lesion_phrase, numbers) if self.lesion_phrase else ()
        said = "" if view is None else spell_view(view, self.round_deg)
        return tuple(
            Prompt(
                phrase=prompt.phrase,
                category_id=prompt.category_id,
                asked=phrase_with_view(prompt.phrase, said, self.template),
            )
            for prompt in plain
        )


class _Model(BaseModel):
    size: Literal["tiny", "published"]
    resolution: Annotated[int, Field(ge=1)]


class _Phase(BaseModel):
    instances: Annotated[int, Field(ge=1)]
    lesion_phrase: str = LESION_CATEGORY.name


class _Prompts(BaseModel):
    segments: Segments = "analysed"


class _Run(BaseModel):
    label: Annotated[str, Field(max_length=20)]
    carrier: str = "none"
    template: str = SILENT
    round_deg: Annotated[int, Field(ge=1)] = 1


class _Scratch(BaseModel):
    model: _Model
    phase: _Phase
    prompts: _Prompts = _Prompts()
    run: _Run


class _Asked(BaseModel):
    target: str = Field(alias="_target_")


class _Questions(BaseModel):
    prediction: _Asked


class _Config(BaseModel):
    scratch: _Scratch
    questions: _Questions


def read_published(path: Path) -> Published:
    """Read what a published model is.

    Parameters
    ----------
    path : Path
        Its folder, or the checkpoint in it.

    Raises
    ------
    ConfigError
        There is no such model, or it is told the view by more than words.
    """
    folder = path.parent if path.name == CHECKPOINT else path
    config = _read_config(folder)
    scratch, task = config.scratch, _TASKS.get(config.questions.prediction.target)
    if task is None or scratch.run.carrier not in _IN_WORDS:
        raise ConfigError(
            f"The model of {scratch.run.label} is told the view by more than words and cannot be "
            "asked about other frames. Give that of Phase 2, Phase 4 or an arm of Phase 3 that is "
            "none or text."
        )
    try:
        digest = sha256(folder / CHECKPOINT)
    except OSError:
        raise _missing(folder) from None
    return Published(
        label=scratch.run.label,
        checkpoint=folder / CHECKPOINT,
        digest=digest,
        spec=model_spec(scratch.model.size, scratch.model.resolution),
        task=task,
        segments=scratch.prompts.segments,
        instances=scratch.phase.instances,
        template=scratch.run.template,
        round_deg=scratch.run.round_deg,
        lesion_phrase=scratch.phase.lesion_phrase if task == "findings" else "",
    )


def _read_config(folder: Path) -> _Config:
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        return _Config.model_validate(YAML(typ="safe", pure=True).load(text))
    except OSError:
        raise _missing(folder) from None
    except (YAMLError, ValidationError, UnicodeDecodeError):
        raise ConfigError(
            f"{CONFIG} of the model '{folder.name}' does not say which model it is; train it again."
        ) from None


def _missing(folder: Path) -> ConfigError:
    return ConfigError(
        f"There is no trained model '{folder.name}' ({CHECKPOINT} and {CONFIG}): train its phase, "
        "or say with --model where it is."
    )
