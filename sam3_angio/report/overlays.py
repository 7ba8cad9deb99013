"""Pictures of single frames: the frame, the reference on it, and what the prediction got right.

Conventions
-----------
Colours are told apart by colour-blind people too (Okabe and Ito, https://jfly.uni-koeln.de/color/):
sky blue is the reference, bluish green what the prediction found, orange what it missed, and
reddish purple what it added. A picture has 32 colours and a fixed width, so that it stays under
150 KB whatever the frame shows. It names nobody: the frame's pseudonym and the score, no more.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from sam3_angio.errors import DataError
from sam3_angio.files import replacing
from sam3_angio.pictures import read_picture
from sam3_angio.scoring.masks import BoolArray, FloatArray
from sam3_angio.scoring.phase1 import Phase1Scores
from sam3_angio.scoring.tree import reference_mask, tree_mask

GreyArray = npt.NDArray[np.uint8]
IndexArray = npt.NDArray[np.uint8]

#: Side of one panel. A row of the picture repeats the frame three times, which PNG's compression
#: finds, so that even noise in 32 colours (5 bits a pixel) stays near 100 KB.
PANEL_PX = 400
_STRIP_PX = 20
_FONT_PX = 13

#: Grey levels, and the flat colours that follow them in the palette.
_GREYS = 27
_WHITE = _GREYS - 1
_COLOURS = {
    "reference": (86, 180, 233),
    "found": (0, 158, 115),
    "missed": (230, 159, 0),
    "added": (204, 121, 167),
}
_INDEX = {name: _GREYS + place for place, name in enumerate(_COLOURS)}

#: Part of a small pixel that a mask must cover to show: a vessel two pixels wide must not vanish.
_MIN_COVER = 0.25


def choose_frames(dice: FloatArray, count: int) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the best, median and worst frames; undefined ones are left out.

    Parameters
    ----------
    dice : (N,) float ndarray
        NaN where undefined.
    count : int
        How many of each, where there are so many.

    Returns
    -------
    dict of str to tuple of int
        ``best`` from the best down, ``median`` around the middle, ``worst`` from the worst up.
    """
    order = [int(index) for index in np.argsort(-dice, kind="stable") if not np.isnan(dice[index])]
    count = min(count, len(order))
    middle = (len(order) - count) // 2
    return {
        "best": tuple(order[:count]),
        "median": tuple(order[middle : middle + count]),
        "worst": tuple(order[::-1][:count]),
    }


def write_overlays(folder: Path, images: Path, scores: Phase1Scores, count: int) -> None:
    """Write ``{best,median,worst}_{k}.png`` by the headline's Dice, replacing the folder.

    Parameters
    ----------
    folder : Path
        Where to.
    images : Path
        Holds ``{frame_id}.png``.
    scores : Phase1Scores
    count : int
        How many of each.

    Raises
    ------
    DataError
        A frame's picture cannot be read.
    """
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, numbers in choose_frames(scores.dice, count).items():
            for place, number in enumerate(numbers, 1):
                picture = _overlay(images, scores, number)
                picture.save(temporary / f"{name}_{place}.png", format="PNG", optimize=True)


def draw_overlay(
    frame: GreyArray, reference: BoolArray, prediction: BoolArray, caption: str
) -> Image.Image:
    """Draw frame, reference, and prediction side by side over a line of text.

    Parameters
    ----------
    frame : (M, N) uint8 ndarray
    reference, prediction : (M, N) bool ndarray
    caption : str
        Pseudonym of the frame and its score.

    Returns
    -------
    PIL.Image.Image
        Palette picture, three panels wide.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if not frame.shape == reference.shape == prediction.shape:
        raise ValueError(f"shapes {frame.shape}, {reference.shape}, {prediction.shape} differ")
    size = _panel_size(frame.shape)
    grey = _reduced_frame(frame, size)
    truth, answer = _reduced_mask(reference, size), _reduced_mask(prediction, size)
    panels = np.concatenate(
        [
            grey,
            _painted(grey, {"reference": truth}),
            _painted(
                grey,
                {"found": truth & answer, "missed": truth & ~answer, "added": answer & ~truth},
            ),
        ],
        axis=1,
    )
    return _with_text(panels, caption)


def read_frame(path: Path, shape_px: tuple[int, int]) -> GreyArray:
    """Return a frame's picture, (M, N) uint8.

    Raises
    ------
    DataError
        It cannot be read, or has another size than `shape_px`.
    """
    try:
        with Image.open(io.BytesIO(read_picture(path))) as picture:
            frame = np.asarray(picture.convert("L"))
    except OSError:
        raise DataError.at(path.name, "the picture cannot be read.", "Run split again.") from None
    if frame.shape != shape_px:
        raise DataError.at(path.name, f"{frame.shape} rows and columns, expected {shape_px}.")
    return frame


def _overlay(images: Path, scores: Phase1Scores, number: int) -> Image.Image:
    case = scores.frames[number].case
    prediction = tree_mask(case, scores.tree_from, scores.threshold)
    reference = "truth" if scores.reference == "truth" else "pseudo-label"
    return draw_overlay(
        read_frame(images / f"{case.frame_id}.png", case.shape_px),
        reference_mask(case, scores.reference),
        np.zeros(case.shape_px, dtype=bool) if prediction is None else prediction,
        f"{case.frame_id}   Dice {scores.dice[number]:.3f} against the {reference}",
    )


def _panel_size(shape_px: Sequence[int]) -> tuple[int, int]:
    scale = PANEL_PX / max(shape_px)
    return max(1, round(shape_px[1] * scale)), max(1, round(shape_px[0] * scale))


def _reduced_frame(frame: GreyArray, size: tuple[int, int]) -> IndexArray:
    small = Image.fromarray(frame).resize(size, Image.Resampling.BOX)
    levels = np.asarray(small, dtype=np.float64) * (_GREYS - 1) / 255
    return np.rint(levels).astype(np.uint8)


def _reduced_mask(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(small) >= 255 * _MIN_COVER


def _painted(grey: IndexArray, marks: dict[str, BoolArray]) -> IndexArray:
    painted = grey.copy()
    for name, mask in marks.items():
        painted[mask] = _INDEX[name]
    return painted


def _with_text(panels: IndexArray, caption: str) -> Image.Image:
    rows, columns = panels.shape
    picture = Image.new("P", (columns, rows + 2 * _STRIP_PX), 0)
    picture.putpalette(_palette())
    picture.paste(Image.fromarray(panels), (0, 0))
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"  # anti-aliased text would need colours that the palette does not have
    font = ImageFont.load_default(_FONT_PX)
    draw.text((4, rows + 3), caption, fill=_WHITE, font=font)
    notice = "Research use only"
    draw.text((columns - draw.textlength(notice, font) - 4, rows + 3), notice, _WHITE, font)
    x = 4.0
    for name, index in _INDEX.items():
        draw.rectangle((x, rows + _STRIP_PX + 6, x + 9, rows + _STRIP_PX + 14), fill=index)
        draw.text((x + 14, rows + _STRIP_PX + 2), name, fill=_WHITE, font=font)
        x += 14 + draw.textlength(name, font) + 16
    return picture


def _palette() -> list[int]:
    greys = [round(level * 255 / (_GREYS - 1)) for level in range(_GREYS) for _ in range(3)]
    return greys + [part for colour in _COLOURS.values() for part in colour]
