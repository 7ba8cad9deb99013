"""What DVC records of a stage must be what the stage ran with.

DVC writes code and parameters into ``dvc.lock`` as they are when a stage ends. Where either was
edited meanwhile, it would vouch for results that something else made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from ruamel.yaml import YAML

from sam3_angio.command import run
from sam3_angio.errors import ConfigError
from sam3_angio.files import sha256

PIPELINE = Path("dvc.yaml")
PARAMETERS = Path("params.yaml")
_OURS = ("sam3_angio", "stages")

_Options = ParamSpec("_Options")


def run_stage(function: Callable[..., None], stage: str) -> None:
    """Run a stage's function as a command, and compare what DVC will record of it.

    Parameters
    ----------
    function : callable
        Its parameters are the command's options.
    stage : str
        Its name in ``dvc.yaml``.
    """
    run(unedited(stage)(function))


def unedited(stage: str) -> Callable[[Callable[_Options, None]], Callable[_Options, None]]:
    """Let a stage fail if its code or parameters, as ``dvc.yaml`` lists them, are edited meanwhile.

    Without ``dvc.yaml`` in the working folder nothing is recorded, and nothing compared.

    Parameters
    ----------
    stage : str
        Its name in ``dvc.yaml``.

    Returns
    -------
    callable
        Decorates the stage's function, which then raises ConfigError with what was edited.
    """

    def decorate(function: Callable[_Options, None]) -> Callable[_Options, None]:
        @wraps(function)
        def guarded(*arguments: _Options.args, **options: _Options.kwargs) -> None:
            before = recorded(stage)
            function(*arguments, **options)
            now = recorded(stage)
            edited = sorted(name for name in before if before[name] != now.get(name))
            if edited:
                raise ConfigError(
                    f"Edited while {stage} ran: {', '.join(edited)}. Nothing is recorded of this "
                    "run. Run the stage again."
                )

        return guarded

    return decorate


def recorded(stage: str) -> dict[str, Any]:
    """Return the SHA-256 of a stage's own code by path, and its parameters by section.

    Parameters
    ----------
    stage : str
        Its name in ``dvc.yaml``.
    """
    if not PIPELINE.is_file():
        return {}
    described = _read(PIPELINE)["stages"][stage]
    code = [Path(name) for name in described["deps"] if name.split("/")[0] in _OURS]
    files = [file for path in code for file in ([path] if path.is_file() else path.rglob("*.*"))]
    values = _read(PARAMETERS)
    return {
        **{file.as_posix(): sha256(file) for file in files if "__pycache__" not in file.parts},
        **{f"params.yaml:{section}": values.get(section) for section in described["params"]},
    }


def _read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
