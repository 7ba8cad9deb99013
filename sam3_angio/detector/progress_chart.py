"""How a training goes, as one picture that is rewritten as it goes.

Conventions
-----------
Epochs count from 1. A panel without a number yet is left out, and so is a value that an epoch does
not have: validations may be rarer than epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sam3_angio.files import replacing

Record = Mapping[str, float]

#: Title of a panel, and the numbers in it with their names in the legend.
_PANELS = (
    ("loss in training", {"train/loss": "loss"}),
    (
        "validation",
        {
            "val/dice_semantic": "Dice, semantic mask",
            "val/dice_instance": "Dice, best instance",
            "val/presence_accuracy": "presence, accuracy",
        },
    ),
    ("learning rate", {"train/lr": "detector"}),
    ("minutes", {"minutes": "since the start"}),
)

_BELOW_IN = 0.5


def write_progress(history: Sequence[Record], path: Path) -> None:
    """Draw the epochs so far.

    Parameters
    ----------
    history : sequence of mapping
        Numbers of each epoch.
    path : Path
        PNG to write.
    """
    shown = [(title, names) for title, names in _PANELS if _any(history, names)]
    height_in = 2 * max(1, len(shown)) + _BELOW_IN
    figure = Figure(figsize=(7, height_in))
    FigureCanvasAgg(figure)
    # A layout that is computed takes as long as the drawing.
    figure.subplots_adjust(
        left=0.13, right=0.97, bottom=_BELOW_IN / height_in, top=1 - 0.1 / height_in, hspace=0.12
    )
    panels = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, names) in zip(panels, shown, strict=False):
        _draw(axes, title, names, history)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _any(history: Sequence[Record], names: Mapping[str, str]) -> bool:
    return any(name in record for record in history for name in names)


def _draw(axes: Axes, title: str, names: Mapping[str, str], history: Sequence[Record]) -> None:
    for name, word in names.items():
        points = [
            (epoch, record[name]) for epoch, record in enumerate(history, start=1) if name in record
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=word)
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend(fontsize="small", loc="lower right")
