"""From ``params.yaml`` to the trainer's configuration.

The packaged Hydra configuration holds every class; ``params.yaml`` holds every number. They meet
in its ``scratch`` section, whose keys are all missing (``???``) until they are filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from sam3_angio.errors import ConfigError


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
    with initialize_config_module("sam3_angio.detector.configs", version_base="1.3"):
        packaged = compose(config_name=name)
    OmegaConf.set_struct(packaged, True)
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
