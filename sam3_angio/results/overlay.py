"""The overlay: the frame, and beside it the frame with what was found.

Conventions
-----------
Colours are told apart by colour-blind people too (Okabe and Ito, https://jfly.uni-koeln.de/color/).
The picture names nobody: the analysis' pseudonym, segments, measured stenoses and the notice.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sam3_angio.results.analysis import NOTICE, BoolArray, FrameAnalysis, SegmentFinding
from sam3_angio.results.segmentation import segment_label

TREE_COLOUR = (200, 200, 200)
LESION_COLOUR = (213, 94, 0)
COLOURS = (
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (0, 114, 178),
    (230, 159, 0),
)
"""Of segments, in their order, repeated."""
_OPACITY = 0.45
_LINE_PX = 18
_FONT_PX = 13


def overlay(analysis: FrameAnalysis) -> Image.Image:
    """Draw the frame, the frame with its findings, and a legend.

    Returns
    -------
    PIL.Image.Image
        RGB, twice the frame's width.
    """
    panels = Image.new("RGB", (2 * analysis.picture.shape[1], analysis.picture.shape[0]))
    panels.paste(frame_panel(analysis), (0, 0))
    panels.paste(findings_panel(analysis), (analysis.picture.shape[1], 0))
    return _with_legend(panels, analysis)


def frame_panel(analysis: FrameAnalysis) -> Image.Image:
    """Draw the frame as it is, in RGB."""
    return Image.fromarray(_in_colour(analysis))


def findings_panel(analysis: FrameAnalysis) -> Image.Image:
    """Draw the frame with tree, segments and stenoses; measured tightest places are ringed."""
    painted = _with_outline(_in_colour(analysis), analysis.tree.mask, TREE_COLOUR)
    for place, found in enumerate(analysis.segments):
        painted = _filled(painted, found.mask, segment_colour(place))
    for lesion in analysis.lesions:
        painted = _with_outline(painted, lesion.mask, LESION_COLOUR)
    panel = Image.fromarray(painted)
    _mark_stenoses(ImageDraw.Draw(panel), analysis)
    return panel


def overlay_png(analysis: FrameAnalysis) -> bytes:
    """Return the overlay as a PNG file without any metadata."""
    return png(overlay(analysis))


def png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file without any metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _in_colour(analysis: FrameAnalysis) -> NDArray[np.uint8]:
    return np.repeat(analysis.picture[..., None], 3, axis=-1)


def segment_colour(place: int) -> tuple[int, int, int]:
    """Return the colour of the segment at this place of the analysis."""
    return COLOURS[place % len(COLOURS)]


def _filled(
    picture: NDArray[np.uint8], mask: BoolArray, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    mixed = picture.astype(np.float64)
    mixed[mask] = (1 - _OPACITY) * mixed[mask] + _OPACITY * np.array(colour)
    return _with_outline(np.rint(mixed).astype(np.uint8), mask, colour)


def _with_outline(
    picture: NDArray[np.uint8], mask: BoolArray, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    drawn = picture.copy()
    drawn[mask & ~ndimage.binary_erosion(mask)] = colour
    return drawn


def _with_legend(panels: Image.Image, analysis: FrameAnalysis) -> Image.Image:
    lines = [(TREE_COLOUR, "vessel tree")]
    lines += [
        (segment_colour(place), _legend(found)) for place, found in enumerate(analysis.segments)
    ]
    lines += [(LESION_COLOUR, "stenosis outlined by the model")] if analysis.lesions else []
    page = Image.new("RGB", (panels.width, panels.height + _LINE_PX * (len(lines) + 2) + 6))
    page.paste(panels, (0, 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_PX)
    top = panels.height + 4
    title = f"{analysis.name}, frame {analysis.frame_index}"
    for text in (title, NOTICE):
        draw.text((4, top), text, "white", font)
        top += _LINE_PX
    for colour, text in lines:
        draw.rectangle((5, top + 4, 15, top + 13), fill=colour)
        draw.text((21, top), text, "white", font)
        top += _LINE_PX
    return page


def _mark_stenoses(draw: ImageDraw.ImageDraw, analysis: FrameAnalysis) -> None:
    """Ring the tightest place of every measured lesion."""
    for found in analysis.segments:
        for lesion in () if found.qca is None else found.qca.lesions:
            x, y = lesion.mld_px
            draw.ellipse((x - 9, y - 9, x + 9, y + 9), outline="white", width=2)


def _legend(found: SegmentFinding) -> str:
    text = f"{segment_label(found.cass)}, probability {found.score:.2f}"
    if found.qca is None:
        return text
    qca = found.qca
    return f"{text}: MLD {qca.mld_mm:.2f} mm, stenosis {qca.diameter_stenosis_pct:.0f} %"
