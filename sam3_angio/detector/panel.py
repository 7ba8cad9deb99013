"""A fixed panel of validation frames, drawn after each validation: what the model sees by now.

Conventions
-----------
The frames are spread evenly over the validation frames and are the same in every epoch. On a frame,
bluish green is what the model found, orange what it missed and reddish purple what it added, of all
phrases together that the labels say are there; the model's mask is the semantic one. Below it stand
phrases with their presence: those that are there first, then the likeliest of the others; white
where one half as the border gives the right answer, orange where it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sam3_angio.detector.predict import Answer, Samples, enlarge

#: Frames of a panel, and how many stand in a row.
FRAMES = 6
_COLUMNS = 3

_TILE_PX = 240
_LINE_PX = 14
_LINES = 5
_CAPTION_PX = _LINES * _LINE_PX + 4
_COVER = 0.65

_FOUND, _MISSED, _ADDED = (0, 158, 115), (230, 159, 0), (204, 121, 167)
_RIGHT, _WRONG = (255, 255, 255), _MISSED
_NOTE = "Research use only."

RgbArray = NDArray[np.uint8]


def panel_places(count: int) -> tuple[int, ...]:
    """Return which of `count` frames are shown.

    Examples
    --------
    >>> panel_places(60)
    (0, 12, 24, 35, 47, 59)
    >>> panel_places(2)
    (0, 1)
    """
    chosen = np.linspace(0, count - 1, min(count, FRAMES))
    return tuple(int(place) for place in np.rint(chosen))


def draw_panel(samples: Samples, places: Sequence[int], found: Iterable[Answer]) -> RgbArray:
    """Draw some frames with their answers.

    Parameters
    ----------
    samples : Samples
    places : sequence of int
        Which of the samples.
    found : iterable of Answer
        To all of their queries, in their order.

    Returns
    -------
    (rows, columns, 3) ndarray of uint8
    """
    by_frame: dict[int, list[Answer]] = {}
    for answer in found:
        by_frame.setdefault(answer.image_id, []).append(answer)
    tiles = [
        draw_tile(_grey(samples, place), answers)
        for place, answers in zip(places, by_frame.values(), strict=True)
    ]
    rows = -(-len(tiles) // _COLUMNS)
    height_px = _TILE_PX + _CAPTION_PX
    sheet = Image.new("RGB", (_COLUMNS * _TILE_PX, rows * height_px + _LINE_PX))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(tile, (column * _TILE_PX, row * height_px))
    _write(ImageDraw.Draw(sheet), rows * height_px, _NOTE, _RIGHT)
    return np.asarray(sheet)


def _grey(samples: Samples, place: int) -> NDArray[np.uint8]:
    return np.asarray(samples[place].images[0].data[0].numpy())


def draw_tile(picture: NDArray[np.uint8], answers: Sequence[Answer]) -> Image.Image:
    """Draw one frame with the answers to its queries.

    Parameters
    ----------
    picture : (R, R) ndarray of uint8
        At the model's resolution.
    answers : sequence of Answer
    """
    tile = Image.new("RGB", (_TILE_PX, _TILE_PX + _CAPTION_PX))
    coloured = Image.fromarray(_coloured(picture, answers))
    tile.paste(coloured.resize((_TILE_PX, _TILE_PX), Image.Resampling.BILINEAR), (0, 0))
    draw = ImageDraw.Draw(tile)
    for line, answer in enumerate(_worth_saying(answers)):
        is_right = (answer.presence > 0.5) == (answer.target is not None)
        mark = "+" if answer.target is not None else "–"
        text = f"{mark} {answer.presence:.2f} {answer.asked or 'asked nothing'}"
        _write(draw, _TILE_PX + 2 + line * _LINE_PX, text, _RIGHT if is_right else _WRONG)
    return tile


def _write(draw: ImageDraw.ImageDraw, top_px: int, text: str, colour: tuple[int, ...]) -> None:
    draw.text((4, top_px), text, fill=colour, font=ImageFont.load_default(size=11))


def _worth_saying(answers: Sequence[Answer]) -> list[Answer]:
    order = sorted(answers, key=lambda answer: (answer.target is None, -answer.presence))
    return order[:_LINES]


def _coloured(picture: NDArray[np.uint8], answers: Sequence[Answer]) -> RgbArray:
    there = [(answer, answer.target) for answer in answers if answer.target is not None]
    target, mask = np.zeros(picture.shape, bool), np.zeros(picture.shape, bool)
    for answer, truth in there:
        target |= np.asarray(truth.cpu().numpy()) > 0
        mask |= np.asarray((enlarge(answer.semantic, picture.shape) > 0).cpu().numpy())
    values = np.repeat(picture[..., None], 3, axis=-1).astype(np.float64)
    for where, colour in (
        (mask & target, _FOUND),
        (target & ~mask, _MISSED),
        (mask & ~target, _ADDED),
    ):
        values[where] += _COVER * (np.array(colour) - values[where])
    return np.rint(values).astype(np.uint8)
