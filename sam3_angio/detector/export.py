"""A trained model as a file that stock ``sam3`` loads.

``sam3.model_builder.build_sam3_image_model(checkpoint_path=…)`` keeps only names that begin with
``detector.`` and says nothing of the rest: a checkpoint under its own names loads nothing there,
and the model answers from random weights. The exported file has those names.

Conventions
-----------
The stock builder knows one model, the published size at 1008 pixels. The position tables of a
model that was trained at another resolution are written as that resolution's; its weights are the
same. Such a model, and one of another size, are exported with a remark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sam3_angio.detector.build import PUBLISHED, ModelSpec, NoMemory, build_model, model_spec
from sam3_angio.detector.checkpoint import (
    DETECTOR,
    other_position_tables,
    read_weights,
    require_fit,
)
from sam3_angio.detector.low_rank import merged
from sam3_angio.detector.view_model import ADDED
from sam3_angio.errors import ConfigError
from sam3_angio.files import replacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an exported file holds.

    Attributes
    ----------
    tensors : int
        Weights and tables.
    parameters : int
        Numbers that training changes.
    remarks : tuple of str
        What to know before the file is used.
    """

    tensors: int
    parameters: int
    remarks: tuple[str, ...]


def export(model: Path, out: Path) -> Exported:
    """Write a trained model under the names that stock ``sam3`` loads.

    Parameters
    ----------
    model : Path
        Folder that a training phase published.
    out : Path
        File to write.

    Raises
    ------
    ConfigError
        The folder holds no model, or one with parts that stock ``sam3`` does not have.
    """
    spec = _spec_of(model)
    state = merged(read_weights(model / "checkpoint.pt"))
    _require_stock_parts(state)
    with NoMemory():
        own = build_model(spec)
    require_fit("checkpoint.pt", state, own.state_dict())
    if _is_of_published_size(spec):
        state = {**state, **_tables(PUBLISHED, state)}
    named = {f"{DETECTOR}{name}": value.contiguous() for name, value in state.items()}
    with replacing(out) as temporary, temporary.open("wb") as stream:
        torch.save({"model": named}, stream)
    return Exported(
        tensors=len(named),
        parameters=sum(weight.numel() for weight in own.parameters()),
        remarks=_remarks(spec),
    )


def _spec_of(model: Path) -> ModelSpec:
    try:
        text = (model / "config.yaml").read_text(encoding="utf-8")
        settings = YAML(typ="safe", pure=True).load(text)["scratch"]["model"]
        return model_spec(settings["size"], settings["resolution"])
    except FileNotFoundError:
        raise ConfigError(
            f"There is no trained model in {model.as_posix()}: run its phase first."
        ) from None
    except (YAMLError, KeyError, TypeError, UnicodeDecodeError):
        raise ConfigError(
            f"{model.as_posix()}/config.yaml does not say which model it is; train it again."
        ) from None


def _is_of_published_size(spec: ModelSpec) -> bool:
    return replace(spec, resolution_px=PUBLISHED.resolution_px) == PUBLISHED


def _require_stock_parts(state: Mapping[str, torch.Tensor]) -> None:
    if any(name.startswith(ADDED) for name in state):
        raise ConfigError(
            "This arm's model is told the view by parts that stock sam3 does not have. Export the "
            "arm 'text', which says it in words, or 'none'."
        )


def _tables(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the position tables of `spec` that differ from those of `state`."""
    with NoMemory():
        model = build_model(spec)
    names = set(other_position_tables(state, model.state_dict()))
    tables = {}
    for name, module in model.named_modules():
        if f"{name}.freqs_cis" in names:
            module._setup_rope_freqs()  # with memory this time
            tables[f"{name}.freqs_cis"] = module.freqs_cis
    return tables


def _remarks(spec: ModelSpec) -> tuple[str, ...]:
    if spec == PUBLISHED:
        return ()
    if _is_of_published_size(spec):
        return (
            f"It was trained at {spec.resolution_px} px; stock sam3 sees "
            f"{PUBLISHED.resolution_px} px and will answer otherwise.",
        )
    return (
        "It is not of the published size, the only one that build_sam3_image_model builds; the "
        "file fits a model of its own size put together from sam3's classes.",
    )
