"""The commands by which another machine takes part in the stages that train.

They are those of ``dvc.yaml``, so that every machine is given the same arguments.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from sam3_angio.errors import ConfigError

_LAUNCH = ["python", "-m", "stages.launch"]


def launched_stages(pipeline: Path, wanted: Sequence[str]) -> dict[str, list[str]]:
    """Return the commands that join the stages which a launcher starts.

    Parameters
    ----------
    pipeline : Path
        ``dvc.yaml``.
    wanted : sequence of str
        Names of stages; all of them if it is empty.

    Returns
    -------
    dict of str to list of str
        In the pipeline's order.

    Raises
    ------
    ConfigError
        There is no pipeline here, or a wanted stage is none of them.
    """
    if not pipeline.is_file():
        raise ConfigError(f"{pipeline.name} is missing; run from the repository's root.")
    stages = YAML(typ="safe", pure=True).load(pipeline.read_text(encoding="utf-8"))["stages"]
    commands = {name: shlex.split(stage["cmd"]) for name, stage in stages.items()}
    launched = {
        name: [sys.executable, *_LAUNCH[1:], "--join", *command[len(_LAUNCH) :]]
        for name, command in commands.items()
        if command[: len(_LAUNCH)] == _LAUNCH
    }
    if unknown := [name for name in wanted if name not in launched]:
        raise ConfigError(
            f"No stage that trains is called {', '.join(unknown)}; there are {', '.join(launched)}."
        )
    return {name: command for name, command in launched.items() if not wanted or name in wanted}
