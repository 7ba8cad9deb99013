"""From ``params.yaml`` to the trainer's configuration.

The packaged Hydra configuration holds every class; ``params.yaml`` holds every number. They meet
in its ``scratch`` section, whose keys are all missing (``???``) until they are filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from sam3_angio.detector import configs
from sam3_angio.errors import ConfigError

_OWN_TARGET = re.compile(r"_target_: (sam3_angio\.[\w.]+)\.\w+")
_CONFIGS = Path(__file__).parent / "configs"


def recipe_files(name: str) -> tuple[Path, ...]:
    """Return the files of a packaged configuration: its own and those that it builds on."""
    path = _CONFIGS / f"{name}.yaml"
    before = [base for base in OmegaConf.load(path).get("defaults", []) if base != "_self_"]
    return (path, *(file for base in before for file in recipe_files(base)))


def named_modules(files: Iterable[Path]) -> tuple[str, ...]:
    """Return this project's modules whose classes some configurations instantiate, sorted."""
    texts = [path.read_text(encoding="utf-8") for path in files]
    return tuple(sorted({name for text in texts for name in _OWN_TARGET.findall(text)}))


def compose_recipe(
    name: str, parameters: Mapping[str, Mapping[str, Any]], run: Mapping[str, Any]
) -> DictConfig:
    """Fill a packaged configuration.

    Parameters
    ----------
    name : str
        Of the configuration, such as ``phase1``.
    parameters : mapping
        Sections of ``params.yaml`` by name; that of the phase, ``train_...``, fills
        ``scratch.phase``.
    run : mapping
        What this training sets itself: folders and files.

    Returns
    -------
    DictConfig
        Resolved, ready for ``hydra.utils.instantiate``.

    Raises
    ------
    ConfigError
        A key that the configuration does not know, or one that it misses.
    """
    packaged = _packaged(name)
    scratch = {
        "phase" if section.startswith("train_") else section: dict(values)
        for section, values in parameters.items()
    }
    scratch["run"] = dict(run)
    unknown = [
        f"{section}.{key}"
        for section, values in scratch.items()
        for key in values
        if key not in packaged.scratch[section].keys()  # noqa: SIM118 - "in" wants a value
    ]
    if unknown:
        raise ConfigError(f"The configuration {name} does not know {', '.join(unknown)}.")
    recipe = OmegaConf.merge(packaged, {"scratch": scratch})
    missing = sorted(OmegaConf.missing_keys(recipe))
    if missing:
        raise ConfigError(f"The configuration {name} misses {', '.join(missing)}.")
    OmegaConf.resolve(recipe)
    return recipe


@lru_cache
def _packaged(name: str) -> DictConfig:
    """Return a configuration with nothing filled in; composing it takes most of a second."""
    with initialize_config_module(configs.__name__, version_base="1.3"):
        packaged = compose(config_name=name)
    OmegaConf.set_struct(packaged, True)
    return packaged
