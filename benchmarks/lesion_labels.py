"""What the labels of lesions say of a frame, and what the phantom's truth says.

``python benchmarks/lesion_labels.py [--dataset dataset] [--truth data/truth] [--answers
predictions/phase4] [--markdown]`` counts the frames that the labels call free of lesions and that
show one in another segment, and scores the answers to the prompt for lesions (that of the frame, or
that which names the analysed segment): its presence on frames with and without an outlined lesion,
and its best mask. That is held against masks that know of no lesion
(``sam3_angio/scoring/lesion_masks.py``): the answer to the segment's own phrase, the expert's whole
segment, and its middle third. Intervals are by patient.

A lesion of the truth counts from the depth that ``evaluate`` counts.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from result_table import show_table
from sklearn.metrics import roc_auc_score

from sam3_angio.coco import Document, decode_mask, load_document
from sam3_angio.lesion_labels import asks_for_lesions, segment_of
from sam3_angio.scoring.lesion_masks import pointed_lesions, pointing_figures
from sam3_angio.scoring.predictions import read_predictions
from sam3_angio.scoring.qca_frames import deep_lesions
from sam3_angio.scoring.statistics import Resampling, estimate_figure
from sam3_angio.scoring.true_lesions import read_true_lesions

Rows = list[tuple[str, str, str]]

RESAMPLING = Resampling(samples=2000, confidence=0.95, seed=0)

_WELL_PLACED = 0.3


def count_frames(dataset: Path, truth: Path) -> Rows:
    """Return how many frames that are called free show a lesion, for each split."""
    known = read_true_lesions(truth)
    if known is None:
        raise SystemExit("There is no truth of these data.")
    rows: Rows = []
    for split in ("train", "val"):
        document = load_document(dataset / split / "lesions" / "annotations.json")
        outlined = {mark.image_id for mark in document.annotations}
        free = [image.frame_id for image in document.images if image.id not in outlined]
        shown = [len(deep_lesions(known, image.frame_id)) for image in document.images]
        untrue = sum(bool(deep_lesions(known, frame_id)) for frame_id in free)
        rows.append((split, "called free, with a lesion elsewhere", f"{untrue} of {len(free)}"))
        rows.append((split, "lesions a frame", f"{np.mean(shown):.2f}, n = {len(shown)}"))
    return rows


def score_answers(document: Document, answers: Path) -> Rows:
    """Return what the prompt for the lesions that were outlined answers on validation frames."""
    frame_ids = {image.id: image.frame_id for image in document.images}
    outlined = {
        frame_ids[mark.image_id]: decode_mask(mark.segmentation) for mark in document.annotations
    }
    analysed = {image.frame_id: image.cass_segment for image in document.images}
    asked = {
        query.frame_id: query
        for query in read_predictions(answers)
        if asks_for_lesions(query.category_id)
        and segment_of(query.category_id) in (None, analysed[query.frame_id])
    }
    frames = [frame_id for frame_id in frame_ids.values() if frame_id in asked]
    if not frames:
        return []
    there = [frame_id in outlined for frame_id in frames]
    presence = [asked[frame_id].presence for frame_id in frames]
    auc = float(roc_auc_score(there, presence))
    rows: Rows = [("val", "area under the curve of the presence", f"{auc:.2f}, n = {len(frames)}")]
    for state, words in ((True, "with"), (False, "without")):
        own = [value for value, lesion in zip(presence, there, strict=True) if lesion is state]
        rows.append(("val", f"presence {words} a lesion", f"{median(own):.2f}, n = {len(own)}"))
    sizes = [
        decode_mask(asked[frame_id].instances[0].mask).sum() / lesion.sum()
        for frame_id, lesion in outlined.items()
    ]
    rows.append(("val", "its best mask's area over the lesion's", f"{median(sizes):.1f}"))
    return rows


def compare_masks(dataset: Path, answers: Path) -> Rows:
    """Return how well the prompt's masks point at the lesions, and masks that know of none."""
    own = {
        task: load_document(dataset / "val" / task / "annotations.json")
        for task in ("lesions", "segments")
    }
    said = {(query.frame_id, query.category_id): query for query in read_predictions(answers)}
    lesions = list(pointed_lesions(own["lesions"], own["segments"], said).values())
    rows: Rows = []
    for (quantity, mask, name), of in pointing_figures(lesions).items():
        found = estimate_figure(of, RESAMPLING)
        value = f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f}), n = {found.n}"
        rows.append(("val", f"{quantity}, {mask.replace('_', ' ')}, {name}", value))
    for mask in ("prompt", "segment", "annotated"):
        above = sum(lesion.iou[mask] > _WELL_PLACED for lesion in lesions)
        rows.append(("val", f"iou above {_WELL_PLACED}, {mask}", f"{above} of {len(lesions)}"))
    return rows


def main(
    dataset: Annotated[Path, typer.Option(help="Written by split.")] = Path("dataset"),
    truth: Annotated[Path, typer.Option(help="The phantom's.")] = Path("data/truth"),
    answers: Annotated[Path, typer.Option(help="Of Phase 4.")] = Path("predictions/phase4"),
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Compare labels, truth and answers."""
    document = load_document(dataset / "val" / "lesions" / "annotations.json")
    rows = [
        *count_frames(dataset, truth),
        *score_answers(document, answers),
        *compare_masks(dataset, answers),
    ]
    show_table("Labels of lesions", ("split", "figure", "value"), rows, markdown=markdown)


if __name__ == "__main__":
    typer.run(main)
