"""The gallery of the page: frames with the reference and the prediction as layers over them.

Conventions
-----------
The tree's frames are the best, the median and the worst by the headline's Dice. The most confused
frames are those whose segment was given another segment's name, the surest first: by presence ×
IoU of the wrong name, as names are given (:mod:`sam3_angio.scoring.naming`). A picture carries no
metadata and names nobody but by pseudonym.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import Rle, decode_mask
from sam3_angio.report.overlays import GreyArray, choose_frames, read_frame
from sam3_angio.scoring.answers import AnswerScores, FrameScores, answer_mask
from sam3_angio.scoring.masks import BoolArray
from sam3_angio.scoring.phase1 import Phase1Scores
from sam3_angio.scoring.phase2 import SegmentScores
from sam3_angio.scoring.tree import reference_mask, tree_mask

#: More pictures of a kind would make the page heavy.
MOST_OF_A_KIND = 6

#: Longer side of a picture; a frame of 1024 pixels shows no more on a screen.
_SIDE_PX = 512
_QUALITY = 70

#: Sky blue and orange of Okabe and Ito, told apart by colour-blind people too.
_REFERENCE = (86, 180, 233)
_PREDICTION = (230, 159, 0)

_TITLES = {"best": "Best", "median": "Median", "worst": "Worst"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One frame of the gallery.

    Attributes
    ----------
    frame_id : str
        Pseudonym.
    caption : str
        What was scored, and how it went.
    frame, reference, prediction : str
        Data URIs of equal size: the frame, and two layers that are clear outside the mask.
    width_px, height_px : int
    """

    frame_id: str
    caption: str
    frame: str
    reference: str
    prediction: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureGroup:
    """Pictures of one kind under a title."""

    title: str
    pictures: tuple[Picture, ...]


def tree_groups(images: Path, scores: Phase1Scores, count: int) -> Iterator[PictureGroup]:
    """Yield the best, median and worst frames of the vessel tree.

    Parameters
    ----------
    images : Path
        Holds ``{frame_id}.png``.
    scores : Phase1Scores
    count : int
        How many of each, up to `MOST_OF_A_KIND`.

    Raises
    ------
    DataError
        A frame's picture cannot be read.
    """
    chosen = choose_frames(scores.dice, min(count, MOST_OF_A_KIND))
    for name, numbers in chosen.items():
        pictures = tuple(_tree_picture(images, scores, number) for number in numbers)
        yield PictureGroup(title=f"{_TITLES[name]} by Dice of the vessel tree", pictures=pictures)


def confused_group(images: Path, scores: SegmentScores, count: int) -> PictureGroup:
    """Return the frames whose segment was most surely given a wrong name.

    Raises
    ------
    DataError
        A frame's picture cannot be read.
    """
    absent = len(analysed_segments())
    wrong = [
        (of, of.segments[named])
        for of, true, named in zip(
            scores.frames, scores.true.tolist(), scores.named.tolist(), strict=True
        )
        if named not in (true, absent)
    ]
    wrong.sort(key=lambda pair: -pair[1].presence * pair[1].iou_annotated)
    pictures = (
        _confused_picture(images, scores, of, answer)
        for of, answer in wrong[: min(count, MOST_OF_A_KIND)]
    )
    return PictureGroup(title="Most surely given a wrong name", pictures=tuple(pictures))


def make_picture(
    frame: GreyArray, reference: BoolArray, prediction: BoolArray, *, frame_id: str, caption: str
) -> Picture:
    """Encode a frame and its two layers.

    Parameters
    ----------
    frame : (M, N) uint8 ndarray
    reference, prediction : (M, N) bool ndarray
    frame_id, caption : str
    """
    scale = min(1.0, _SIDE_PX / max(frame.shape))
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return Picture(
        frame_id=frame_id,
        caption=caption,
        frame=_frame_uri(frame, size),
        reference=_layer_uri(reference, size, _REFERENCE),
        prediction=_layer_uri(prediction, size, _PREDICTION),
        width_px=size[0],
        height_px=size[1],
    )


def _tree_picture(images: Path, scores: Phase1Scores, number: int) -> Picture:
    case = scores.frames[number].case
    prediction = tree_mask(case, scores.tree_from, scores.threshold)
    against = "truth" if scores.reference == "truth" else "pseudo-label"
    return make_picture(
        read_frame(images / f"{case.frame_id}.png", case.shape_px),
        reference_mask(case, scores.reference),
        np.zeros(case.shape_px, dtype=bool) if prediction is None else prediction,
        frame_id=case.frame_id,
        caption=f"{case.artery}, {case.view}: Dice {scores.dice[number]:.3f} against the {against}",
    )


def _confused_picture(
    images: Path, scores: SegmentScores, of: FrameScores, answer: AnswerScores
) -> Picture:
    frame = of.frame
    query = next(query for query in frame.answers if query.category_id == answer.category)
    true, said = segments()[frame.segment].phrase, answer.phrase
    return make_picture(
        read_frame(images / f"{frame.frame_id}.png", frame.shape_px),
        decode_mask(frame.annotated.segmentation),
        _mask(answer_mask(query, scores.rule), frame.shape_px),
        frame_id=frame.frame_id,
        caption=f"{frame.view}: {true}, named {said} (presence {answer.presence:.2f}, "
        f"IoU {answer.iou_annotated:.2f})",
    )


def _mask(code: Rle | None, shape_px: tuple[int, int]) -> BoolArray:
    return np.zeros(shape_px, dtype=bool) if code is None else decode_mask(code)


def _frame_uri(frame: GreyArray, size: tuple[int, int]) -> str:
    stream = io.BytesIO()
    small = Image.fromarray(frame).resize(size, Image.Resampling.BOX)
    small.save(stream, format="WEBP", quality=_QUALITY, method=4)
    return _uri("image/webp", stream.getvalue())


def _layer_uri(mask: BoolArray, size: tuple[int, int], colour: tuple[int, int, int]) -> str:
    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    layer = Image.fromarray((np.asarray(grey) >= 128).astype(np.uint8))
    layer = layer.convert("P")
    layer.putpalette([0, 0, 0, *colour])
    stream = io.BytesIO()
    layer.save(stream, format="PNG", bits=1, transparency=0, optimize=True)
    return _uri("image/png", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
