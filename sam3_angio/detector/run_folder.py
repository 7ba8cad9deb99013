"""Where a training works, and what makes two trainings the same.

A training works in ``runs/<phase>/<fingerprint>/`` and publishes at the end. The fingerprint is
over everything that can change its result: parameters, data, initial weights, code, versions, and
how many workers and threads add up the sums. A training with an equal fingerprint is resumed; any
difference starts afresh, in another folder.

Conventions
-----------
``SAM3_ANGIO_RUNS`` names another root than ``runs``, for temporary working copies that are deleted
on failure.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from sam3_angio.config import Config, load_config
from sam3_angio.detector.recipe import named_modules, recipe_files
from sam3_angio.errors import ConfigError
from sam3_angio.files import sha256

_OURS = ("sam3_angio", "stages")
#: How workers are started and wait for each other, and who prepares batches: no matter to the
#: result. How many workers there are is counted, see :attr:`Origin.workers`.
_PLACEMENT = ("launcher", "nodes", "timeout_s", "loader_workers")
_DECISIVE = ("torch", "torchvision", "sam3", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """All that a training's result depends on.

    Attributes
    ----------
    recipe : str
        Name of the packaged configuration.
    parameters : dict
        Sections of ``params.yaml``.
    data : dict of str
        SHA-256 of each split.
    initial : str
        SHA-256 of the initial weights, or ``none``.
    code : dict of str
        SHA-256 of each module of this project that is loaded, and of the configuration's files.
    versions : dict of str
        Of the packages that compute.
    workers : int
        Processes.
    choices : dict
        What the job itself sets in the configuration.
    ignored : tuple of str
        Keys of the phase's section that were left out, because the result does not depend on them.
    """

    recipe: str
    parameters: dict[str, Any]
    data: dict[str, str]
    initial: str
    code: dict[str, str]
    versions: dict[str, str]
    workers: int
    choices: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def runs_root() -> Path:
    """Return the scratch folder."""
    return Path(os.environ.get("SAM3_ANGIO_RUNS") or "runs")


def parameters_of(
    config: Config, sections: Sequence[str], ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Return the sections of ``params.yaml`` that a training depends on.

    Parameters
    ----------
    config : Config
    sections : sequence of str
    ignored : collection of str
        Keys of the phase's section, ``train_...``, that it does not depend on.
    """
    parameters = {name: getattr(config, name).model_dump(mode="json") for name in sections}
    for name in sections:
        if name.startswith("train_"):
            parameters[name] = {k: v for k, v in parameters[name].items() if k not in ignored}
    for key in _PLACEMENT:
        parameters.get("train", {}).pop(key, None)
    return parameters


def code_digests(recipe: str) -> dict[str, str]:
    """Return the SHA-256 of what computes: this project's modules and the configuration's files.

    The modules are those that are loaded once those are that the configuration names, so that it
    does not matter what this process trained before.

    Parameters
    ----------
    recipe : str
        Name of the packaged configuration.
    """
    configs = recipe_files(recipe)
    for name in named_modules(configs):
        import_module(name)
    files = {**_loaded_files(), **{f"configs/{path.name}": path for path in configs}}
    return {name: sha256(path) for name, path in sorted(files.items())}


def _loaded_files() -> dict[str, Path]:
    return {
        name: Path(str(module.__file__))
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in _OURS and getattr(module, "__file__", None)
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute."""
    return {name: metadata.version(name) for name in _DECISIVE}


def require_unchanged(origin: Origin) -> None:
    """Stop if parameters or code were edited while the training ran.

    DVC records both as they are when a stage ends; it would vouch for what was not trained.

    Raises
    ------
    ConfigError
        With what was changed.
    """
    now = parameters_of(load_config(), tuple(origin.parameters), origin.ignored)
    changed = [
        *_changed(origin.parameters, now),
        *_changed(origin.code, code_digests(origin.recipe)),
    ]
    if changed:
        raise ConfigError(
            f"Changed while the training ran: {', '.join(changed)}. Nothing was published. The "
            "trained state is kept: undo the change and run the stage again to publish it, or run "
            "it as it is now to train anew."
        )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in before if before[name] != now.get(name))
