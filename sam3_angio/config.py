"""The typed schema of ``params.yaml``.

No field has a default: a value that is not in ``params.yaml`` cannot change a result, so this
module is no dependency of any stage. The file is read with ruamel.yaml (YAML 1.2), because DVC
writes ``1e-05``, which YAML 1.1 readers take for a string.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sam3_angio.anatomy import TREE_PHRASE, segments
from sam3_angio.errors import ConfigError, Fault

Fraction = Annotated[float, Field(gt=0, lt=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Where the runs are."""

    dicom_root: str
    dicom_watch: str


Share = Annotated[float, Field(ge=0, le=1)]


def _with_an_area(region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = region
    if not (left < right and top < bottom):
        raise ValueError("a region is [left, top, right, bottom], in fractions of the frame")
    return region


Region = Annotated[tuple[Share, Share, Share, Share], AfterValidator(_with_an_area)]


class ExtractConfig(_Section):
    """Display mapping of runs without a window, what of a frame is made black, and in what form."""

    percentile_low: Percent
    percentile_high: Percent
    shards: Annotated[int, Field(ge=0, le=1000)]
    blank: tuple[Region, ...]
    blank_text: bool

    @model_validator(mode="after")
    def _ordered(self) -> ExtractConfig:
        if self.percentile_low >= self.percentile_high:
            raise ValueError("percentile_low must be below percentile_high")
        return self


class ConvertConfig(_Section):
    """Labels to COCO."""

    min_mask_iou: Annotated[float, Field(ge=0, le=1)]
    segment_source: Literal["contour", "mask"]
    min_stenosis_pct: Annotated[float, Field(ge=0, le=100)]


class SplitConfig(_Section):
    """Partition by patient."""

    val_fraction: Fraction
    seed: Seed


class ModelConfig(_Section):
    """Size and start of the model."""

    size: Literal["tiny", "published"]
    resolution: Count
    checkpoint: str

    @model_validator(mode="after")
    def _weights_of_that_size(self) -> ModelConfig:
        sizes = {"tiny": "tiny", "hf": "published"}
        if sizes.get(self.checkpoint, self.size) != self.size:
            raise ValueError(
                f"checkpoint '{self.checkpoint}' is of size '{sizes[self.checkpoint]}'"
            )
        return self


def _folded(phrase: str) -> str:
    return " ".join(phrase.casefold().split())


def _no_segment_twice(phrases: tuple[str, ...]) -> tuple[str, ...]:
    names = {_folded(TREE_PHRASE), *(_folded(segment.phrase) for segment in segments().values())}
    for phrase in phrases:
        if _folded(phrase) in names:
            raise ValueError(f"'{phrase}' is said twice, or names a vessel")
        names.add(_folded(phrase))
    return phrases


Phrases = Annotated[
    tuple[Annotated[str, Field(pattern=r"^\S(.{0,98}\S)?$")], ...],
    AfterValidator(_no_segment_twice),
]


class PromptsConfig(_Section):
    """What the detector is asked for when it is scored."""

    segments: Literal["analysed", "all"]
    wrong: Phrases


class TrainConfig(_Section):
    """What all training phases share."""

    launcher: Literal["standalone", "c10d", "slurm"]
    nodes: Count
    workers: Count
    threads: Count
    loader_workers: Annotated[int, Field(ge=0)]
    seed: Seed
    timeout_s: Annotated[int, Field(ge=10, le=86_400)]
    max_minutes: Annotated[float, Field(ge=0)]
    remember_mb: Annotated[int, Field(ge=0)]
    precision: Literal["float32", "bfloat16"]
    optimizer: Literal["adamw", "adamw8bit"]
    parts: Count
    recompute: bool
    compile: bool
    lora_rank: Annotated[int, Field(ge=0, le=256)]
    lora_targets: Annotated[tuple[Literal["qkv", "proj", "fc1", "fc2"], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _more_machines_by_a_launcher(self) -> TrainConfig:
        if self.launcher == "standalone" and self.nodes > 1:
            raise ValueError(f"launcher 'standalone' starts no {self.nodes} nodes; c10d, slurm do")
        return self


Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=10_000)]


class PhaseConfig(_Section):
    """What each training phase sets: schedule, rates, losses, augmentation."""

    epochs: Count
    batch_size: Count
    lr: Rate
    lr_vision: Rate
    lr_text: Rate
    vision_layer_decay: Annotated[float, Field(gt=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    clip: Annotated[float, Field(gt=0, le=1000)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    freeze_text: bool
    freeze_vision: bool
    class_weight: Weight
    presence_weight: Weight
    box_weight: Weight
    giou_weight: Weight
    mask_weight: Weight
    dice_weight: Weight
    semantic_weight: Weight
    semantic_dice_weight: Weight
    mask_points: Annotated[int, Field(ge=64)] | None
    contrast: Annotated[float, Field(ge=0, le=0.5)]
    rotation_deg: Annotated[float, Field(ge=0, le=30)]
    scale: Annotated[float, Field(ge=0, le=0.3)]
    shift: Annotated[float, Field(ge=0, le=0.2)]
    variants: Annotated[int, Field(ge=0, le=1000)]
    val_every: Count
    patience: Annotated[int, Field(ge=0)]
    keep: Literal["last", "best"]
    instances: Count


class Phase1Config(PhaseConfig):
    """Vessel tree from one phrase."""


class NegativesConfig(_Section):
    """Phrases that a frame is asked for and does not show."""

    policy: Literal["none", "similar", "other_artery", "similar+other_artery", "all"]
    per_image: Annotated[float, Field(gt=0, le=29)]
    phrases: Phrases
    phrases_per_image: Annotated[float, Field(ge=0)]
    rivals_per_image: Annotated[float, Field(ge=0, le=29)]
    rivals_doubt: Annotated[float, Field(ge=0, le=1)]
    rivals_weight: Weight
    unrelated_per_image: Annotated[float, Field(ge=0, le=20)]

    @model_validator(mode="after")
    def _enough(self) -> NegativesConfig:
        if self.phrases_per_image > len(self.phrases):
            raise ValueError(f"phrases_per_image is more than the {len(self.phrases)} phrases")
        return self


class NamedPhaseConfig(PhaseConfig):
    """Segments by name."""

    negatives: NegativesConfig


class Phase2Config(NamedPhaseConfig):
    """Segments by name, from the model of Phase 1."""


#: What the model is told of the view angle.
Arm = Literal["none", "text", "exemplar", "embedding", "shuffled"]


def _no_arm_twice(arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
    if len(set(arms)) < len(arms):
        raise ValueError("an arm is listed twice")
    return arms


def _says_phrase_and_view(template: str) -> str:
    rest = template.replace("{phrase}", "", 1).replace("{view}", "", 1)
    if len(rest) != len(template) - len("{phrase}{view}") or "{" in rest or "}" in rest:
        raise ValueError("it must hold {phrase} and {view}, each once, and no other braces")
    return template


class ViewTextConfig(_Section):
    """How the view is said where words carry it."""

    template: Annotated[str, Field(max_length=100), AfterValidator(_says_phrase_and_view)]
    round_deg: Annotated[int, Field(ge=1, le=90)]


class ShuffledConfig(_Section):
    """The control: views of other patients' frames."""

    of: Literal["text", "embedding"]


class Phase3Config(NamedPhaseConfig):
    """Segments by name, told the view angle in one way or another."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=1), AfterValidator(_no_arm_twice)]
    text: ViewTextConfig
    shuffled: ShuffledConfig


def _may_say_segment(phrase: str) -> str:
    rest = phrase.replace("{segment}", "", 1)
    if "{" in rest or "}" in rest or not rest.strip():
        raise ValueError("it must be words, with {segment} once or not at all, and no other braces")
    return phrase


class Phase4Config(NamedPhaseConfig):
    """Segments by name and their lesions."""

    start: Literal["auto", "phase2", "none"]
    lesion_phrase: Annotated[str, Field(max_length=100), AfterValidator(_may_say_segment)]


class BaselineConfig(_Section):
    """The U-Net beside Phase 1."""

    epochs: Count
    batch_size: Count
    lr: Rate
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    clip: Annotated[float, Field(gt=0, le=1000)]
    channels: Annotated[tuple[Count, ...], Field(min_length=2, max_length=8)]
    contrast: Annotated[float, Field(ge=0, le=0.5)]
    rotation_deg: Annotated[float, Field(ge=0, le=30)]
    scale: Annotated[float, Field(ge=0, le=0.3)]
    shift: Annotated[float, Field(ge=0, le=0.2)]
    val_every: Count


class EvaluateConfig(_Section):
    """Scores and their uncertainty."""

    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)]
    confidence: Fraction
    score_threshold: Fraction
    agreement: Annotated[float, Field(ge=0, le=1)]
    tree_from: Literal["semantic", "best", "union"]
    segment_from: Literal["best", "semantic"]
    overlays: Annotated[int, Field(ge=0, le=20)]
    seed: Seed


class MachineConfig(_Section):
    """How the work is done; changes no result."""

    processes: Annotated[int, Field(ge=0)]


class Config(_Section):
    """The whole of ``params.yaml``."""

    data: DataConfig
    extract: ExtractConfig
    convert: ConvertConfig
    split: SplitConfig
    model: ModelConfig
    prompts: PromptsConfig
    train: TrainConfig
    train_phase1: Phase1Config
    train_phase2: Phase2Config
    train_phase3: Phase3Config
    train_phase4: Phase4Config
    train_baseline: BaselineConfig
    evaluate: EvaluateConfig
    machine: MachineConfig

    @model_validator(mode="after")
    def _scored_on_other_phrases_than_trained(self) -> Config:
        wrong = {_folded(phrase) for phrase in self.prompts.wrong}
        for name in type(self).model_fields:
            section = getattr(self, name)
            if isinstance(section, NamedPhaseConfig):
                for phrase in section.negatives.phrases:
                    if _folded(phrase) in wrong:
                        raise ValueError(
                            f"{name}.negatives.phrases and prompts.wrong both have '{phrase}': "
                            "what was trained as absent says nothing of other phrases"
                        )
        return self

    @model_validator(mode="after")
    def _steps_fall_into_parts(self) -> Config:
        parts = self.train.parts
        phases = (name for name in type(self).model_fields if name.startswith("train_phase"))
        uneven = [
            f"{name}.batch_size ({size})"
            for name in phases
            if (size := getattr(self, name).batch_size) % parts
        ]
        if uneven:
            raise ValueError(f"train.parts ({parts}) does not divide {', '.join(uneven)}")
        return self


def load_config(path: Path = Path("params.yaml")) -> Config:
    """Read and validate the parameters.

    Raises
    ------
    ConfigError
        Every wrong key with what is allowed, ten at most.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path.name} is missing; run from the repository's root.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} is not valid YAML: {error}") from error
    return parse_config(text, path.name)


def parse_config(text: str, name: str) -> Config:
    """Validate parameters that are not in a file yet.

    Parameters
    ----------
    text : str
        YAML.
    name : str
        Of the file that it is meant for.

    Raises
    ------
    ConfigError
        Every wrong key with what is allowed, ten at most.
    """
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {str(error).splitlines()[-1]}") from error
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name} is not valid:", _faults(name, error)) from error


def _faults(name: str, error: ValidationError) -> list[Fault]:
    details = error.errors(include_input=False, include_url=False)[:10]
    return [
        Fault(
            file=name,
            field=".".join(str(part) for part in detail["loc"]),
            message=f"{detail['msg'].removeprefix('Value error, ')}.",
        )
        for detail in details
    ]
