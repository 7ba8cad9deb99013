"""Which models analyse a run: one finds the tree, another names segments and stenoses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3_angio.detector.asking import Detector, chosen_device
from sam3_angio.detector.published import read_published
from sam3_angio.errors import ConfigError

#: Folders of the models that are asked where no other is given.
TREE, NAMES = "phase1", "phase4"

_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Who is asked.

    Attributes
    ----------
    tree : Detector
        Finds the vessel tree.
    names : Detector or None
        Names segments and, if it learnt to, outlines stenoses; None for the tree alone.
    """

    tree: Detector
    names: Detector | None

    @property
    def text(self) -> str:
        """Which models they are: phases and the first digits of the checkpoints' digests."""
        used = [model.published for model in (self.tree, self.names) if model is not None]
        return ", ".join(f"{model.label} {model.digest[:_DIGITS]}" for model in used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the models compute on.

    Attributes
    ----------
    device : {"auto", "cpu", "cuda"}
    threads : int
        Of one operation on the CPU.
    """

    device: str
    threads: int


def load_models(given: Sequence[Path], models: Path, machine: Machine, *, names: bool) -> Models:
    """Load the models.

    Parameters
    ----------
    given : sequence of Path
        Published folders or checkpoints, at most one for the tree and one for names; for what is
        not given the repository's own are taken.
    models : Path
        Folder of the repository's models.
    machine : Machine
    names : bool
        Whether segments are named at all.

    Raises
    ------
    ConfigError
        A model is missing, is given twice, or does not fit its checkpoint; there is no such
        device.
    """
    tree, other = chosen_models(given, models)
    wanted = [read_published(tree), *([read_published(other)] if names else [])]
    device = chosen_device(machine.device, machine.threads)
    loaded = [Detector(published, device) for published in wanted]
    return Models(tree=loaded[0], names=loaded[1] if names else None)


def chosen_models(given: Sequence[Path], models: Path) -> tuple[Path, Path]:
    """Return where the model of the tree and that of names are.

    Raises
    ------
    ConfigError
        A given model is missing, or two do the same.
    """
    chosen: dict[bool, Path] = {}
    for path in given:
        finds_tree = read_published(path).task == "tree"
        if finds_tree in chosen:
            what = "find the vessel tree" if finds_tree else "name segments"
            raise ConfigError(f"Two of the given models {what}; give one.")
        chosen[finds_tree] = path
    return chosen.get(True, models / TREE), chosen.get(False, models / NAMES)
