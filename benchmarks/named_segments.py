"""Scoring of named segments: this project's code against loops over MONAI and pycocotools.

Drawn frames of 512², simulated answers to fourteen phrases and three words that name nothing, all
in one process and timed in seconds of CPU. Three tables' worth of work are compared:

- the IoU of each phrase's mask with the annotated segment: run-length codes against MONAI on masks;
- mask AP by segment against the truth, without intervals: against pycocotools;
- everything that ``evaluate`` computes of a phase, with 2000 resamples of the patients for every
  figure and SAM 3's evaluator three times: there is nothing to compare that with.

    PYTHONPATH=tests python benchmarks/named_segments.py --frames 1000
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from monai.metrics import compute_iou
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table
from segment_case import Skill, answers_of, drawn_cases, write_data, write_predictions

from sam3_angio.anatomy import analysed_segments
from sam3_angio.coco import Rle, decode_mask
from sam3_angio.report.phase2 import write_phase2
from sam3_angio.scoring.answers import SaidRule, answer_mask, mask_ious
from sam3_angio.scoring.phase2 import (
    AnswerRules,
    score_predictions,
    segment_matches,
    weighted_precision,
)
from sam3_angio.scoring.predictions import coco_result
from sam3_angio.scoring.segments import SegmentFrame, read_segment_frames
from sam3_angio.scoring.statistics import Resampling

SIDE_PX = 512
FRAMES_A_PATIENT = 3
Frames = Sequence[SegmentFrame]


def segment_masks(frame: SegmentFrame) -> list[Rle | None]:
    count = len(analysed_segments())
    return [answer_mask(query, "best") for query in frame.answers[:count]]


def our_ious(frames: Frames) -> np.ndarray:
    return np.stack([mask_ious(segment_masks(of), of.annotated.segmentation) for of in frames])


def monai_ious(frames: Frames) -> np.ndarray:
    rows = []
    for frame in frames:
        reference = torch.from_numpy(decode_mask(frame.annotated.segmentation))[None, None]
        found = []
        for rle in segment_masks(frame):
            if rle is None:
                found.append(0.0)
            else:
                mask = torch.from_numpy(decode_mask(rle))[None, None]
                found.append(compute_iou(mask, reference).item())
        rows.append(found)
    return np.array(rows)


def our_precision(frames: Frames) -> np.ndarray:
    figure = weighted_precision(segment_matches(frames, "truth"), slice(None))
    return figure.of_weights(np.ones((1, len(figure.patients))))


def pycocotools_precision(frames: Frames) -> np.ndarray:
    numbered = list(enumerate(frames, 1))
    wanted = analysed_segments()
    marks = [
        asdict(mark) | {"image_id": number}
        for number, frame in numbered
        for mark in (frame.visible or {}).values()
        if mark.category_id in wanted
    ]
    results = [
        coco_result(instance, number, query.category_id)
        for number, frame in numbered
        for query in frame.answers
        if query.category_id in wanted
        for instance in query.instances
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": n, "height": SIDE_PX, "width": SIDE_PX} for n, _ in numbered],
            "annotations": [mark | {"id": number} for number, mark in enumerate(marks, 1)],
            "categories": [{"id": number, "name": str(number)} for number in wanted],
        }
        reference.createIndex()
        evaluator = COCOeval(reference, reference.loadRes(results), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return np.asarray(evaluator.stats[:1])


def everything(folder: Path, processes: int) -> np.ndarray:
    rules = AnswerRules(
        rule="best", said=SaidRule(presence=0.5, agreement=0.0), processes=processes
    )
    parts = folder / "dataset", folder / "truth", folder / "predictions"
    resampling = Resampling(samples=2000, confidence=0.95, seed=0)
    document = write_phase2(folder / "metrics", score_predictions(*parts, rules), resampling)
    return np.array([document["top1"]["annotated"]["mean"]])


def timed(function: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def main(
    frames: Annotated[int, typer.Option(min=3, help="Frames of 512².")] = 1000,
) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    table = Table(title=f"{frames} frames, 14 segments and 3 other words each")
    for column in ("", "CPU seconds", "seconds", "times ours", "differs by"):
        table.add_column(column, justify="right" if column else "left")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = drawn_cases(frames, max(1, frames // FRAMES_A_PATIENT), side=SIDE_PX)
        write_data(folder, cases)
        write_predictions(folder / "predictions", cases, answers_of(cases, Skill()))
        del cases  # a thousand frames' masks are gigabytes
        read = read_segment_frames(folder / "dataset", folder / "truth", folder / "predictions")
        rows = (
            ("IoU of the phrases, ours", our_ious, "MONAI", monai_ious),
            ("mask AP, ours", our_precision, "pycocotools", pycocotools_precision),
        )
        monai_ious(read[:2])  # imports that wait for a call
        for our_name, ours, other_name, other in rows:
            cpu, wall, result = timed(lambda ours=ours: ours(read))
            table.add_row(our_name, f"{cpu:.2f}", f"{wall:.2f}", "1.00", "")
            other_cpu, other_wall, other_result = timed(lambda other=other: other(read))
            difference = f"{np.abs(other_result - result).max():.2g}"
            ratio = f"{other_cpu / cpu:.2f}"
            table.add_row(other_name, f"{other_cpu:.2f}", f"{other_wall:.2f}", ratio, difference)
        cpu, wall, _ = timed(lambda: everything(folder, processes=1))
        table.add_row("everything, one process", f"{cpu:.2f}", f"{wall:.2f}", "", "")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
