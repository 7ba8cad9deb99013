"""Where the figures come from: commit, versions, parameters, and how the models were trained.

Conventions
-----------
Nothing here names a folder: of a parameter that is a path, its last part alone is shown, and the
sections ``data`` and ``machine`` are left out, since paths may hold names of people and the machine
changes no result.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from sam3_angio.config import Config

#: Sections of ``params.yaml`` that do not belong in a report.
_LEFT_OUT = {"data", "machine"}

#: What computes the scores. The versions that trained stand with each model.
_PACKAGES = (
    *("sam3-angio", "numpy", "scipy", "scikit-image", "pillow", "pycocotools"),
    *("faster-coco-eval", "dvc", "matplotlib"),
)

#: What of the working tree can change a result.
_CODE = ("sam3_angio", "stages", "params.yaml", "requirements.lock")

_PHASES = {
    "phase1": "Phase 1",
    "baseline": "Baseline",
    "phase2": "Phase 2",
    "phase4": "Phase 4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """How a model was trained, as its ``metadata.json`` has it.

    Attributes
    ----------
    phase : str
    device : str
        Such as ``cpu``.
    workers, steps, parameters, parameters_trained : int
    minutes : float
        Of the training.
    sha256 : str
        First digits of the checkpoint's.
    versions : str
        Of the packages that trained it.
    """

    phase: str
    device: str
    workers: int
    steps: int
    parameters: int
    parameters_trained: int
    minutes: float
    sha256: str
    versions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the figures come from.

    Attributes
    ----------
    code : str
        Commit.
    versions : mapping of str to str
        Of what computed the scores.
    parameters : tuple of (name, value)
    models : tuple of ModelRecord
    """

    code: str
    versions: Mapping[str, str]
    parameters: tuple[tuple[str, str], ...]
    models: tuple[ModelRecord, ...]


def find_provenance(config: Config, models: Path) -> Provenance:
    """Collect where the figures come from, for a run in the repository's root.

    Parameters
    ----------
    config : Config
    models : Path
        Written by the training stages.
    """
    return Provenance(
        code=code_version(Path()),
        versions=package_versions(),
        parameters=tuple(parameter_rows(config)),
        models=tuple(read_models(models)),
    )


def code_version(root: Path) -> str:
    """Return the commit of the code, and whether it was changed since; "unknown" outside Git."""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    return f"{commit}, with changes that are not committed" if changed else commit


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute the scores."""
    versions = {"Python": platform.python_version()}
    return versions | {name: metadata.version(name) for name in _PACKAGES}


def parameter_rows(config: Config) -> Iterator[tuple[str, str]]:
    """Yield every parameter that changes a result, as ``section.key`` and text."""
    yield from _flat("", config.model_dump(exclude=_LEFT_OUT))


def read_models(models: Path) -> Iterator[ModelRecord]:
    """Yield how each phase's model was trained, where its record is there.

    Parameters
    ----------
    models : Path
        Written by the training stages.
    """
    for folder, phase in _PHASES.items():
        path = models / folder / "metadata.json"
        if path.is_file():
            yield _record(phase, json.loads(path.read_text(encoding="utf-8")))


def _record(phase: str, content: Mapping[str, Any]) -> ModelRecord:
    return ModelRecord(
        phase=phase,
        device=content["device"],
        workers=content["workers"],
        steps=content["steps"],
        parameters=content["parameters"],
        parameters_trained=content["parameters_trained"],
        minutes=content["seconds"] / 60,
        sha256=content["checkpoint_sha256"][:12],
        versions=", ".join(f"{name} {version}" for name, version in content["versions"].items()),
    )


def _git(root: Path, *arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(
        [git, *arguments], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _flat(prefix: str, section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(_last_part(str(item)) for item in value)
        else:
            yield f"{prefix}{key}", _last_part(str(value))


def _last_part(text: str) -> str:
    """Return a path's last part; other text as it is."""
    return PurePosixPath(text.replace("\\", "/")).name if {"/", "\\"} & set(text) else text
