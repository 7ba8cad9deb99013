"""Scoring of masks: this project's code against loops over MONAI, surface-distance and pycocotools.

All run on the same drawn vessels in one process, one after the other, and are timed in seconds of
CPU, so that other work on the machine does not matter. MONAI and surface-distance compute Dice
(MONAI: IoU too), HD95 and the mean surface distance; ours computes these, clDice, parts and holes.
Average precision is compared with pycocotools; ours adds intervals from 2000 resamples of the
patients.

    python benchmarks/scoring.py --frames 150
"""

import contextlib
import io
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import numpy as np
import surface_distance
import torch
import typer
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
)
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table
from skimage.draw import disk

from sam3_angio.coco import encode_mask, mask_box
from sam3_angio.scoring.detection import average_precision
from sam3_angio.scoring.masks import BoolArray, compare, measure
from sam3_angio.scoring.statistics import Resampling

SPACING_MM = (0.28, 0.28)
SIDES_PX = (512, 512, 1024)
Pair = tuple[BoolArray, BoolArray]


def vessels(rng: np.random.Generator, side_px: int) -> BoolArray:
    """Draw eight winding tubes."""
    mask = np.zeros((side_px, side_px), dtype=bool)
    for radius in np.linspace(0.003, 0.009, 8) * side_px:
        point, angle = rng.uniform(0.2, 0.8, 2) * side_px, rng.uniform(0, 2 * math.pi)
        for _ in range(side_px // 4):
            angle += rng.normal(0, 0.08)
            point += 2 * np.array([math.sin(angle), math.cos(angle)])
            mask[disk(point, radius, shape=mask.shape)] = True
    return mask


def drawn_pairs(frames: int) -> list[Pair]:
    rng = np.random.default_rng(0)
    references = [vessels(rng, SIDES_PX[number % len(SIDES_PX)]) for number in range(frames)]
    return [
        (reference, np.roll(reference, rng.integers(-3, 4, 2), axis=(0, 1)))
        for reference in references
    ]


def ours(pair: Pair) -> tuple[float, float]:
    reference, prediction = (measure(mask, SPACING_MM) for mask in pair)
    scores = compare(reference, prediction)
    return scores.dice, scores.hd95_mm


def with_monai(pair: Pair) -> tuple[float, float]:
    reference, prediction = (torch.from_numpy(mask)[None, None] for mask in pair)
    options: dict[str, Any] = {"include_background": True, "spacing": SPACING_MM}
    compute_iou(prediction, reference)
    compute_average_surface_distance(prediction, reference, symmetric=True, **options)
    hd95_mm = compute_hausdorff_distance(prediction, reference, percentile=95, **options)
    return compute_dice(prediction, reference).item(), hd95_mm.item()


def with_surface_distance(pair: Pair) -> tuple[float, float]:
    distances = surface_distance.compute_surface_distances(*pair, SPACING_MM)
    surface_distance.compute_average_surface_distance(distances)
    hd95_mm = surface_distance.compute_robust_hausdorff(distances, 95)
    return surface_distance.compute_dice_coefficient(*pair), hd95_mm


def one_by_one(function: Callable[[Pair], tuple[float, float]], pairs: list[Pair]) -> np.ndarray:
    return np.array([function(pair) for pair in pairs])


def coco_files(pairs: list[Pair]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write the pairs as a COCO document with five results a frame."""
    images, annotations, results = [], [], []
    for number, (reference, prediction) in enumerate(pairs, 1):
        rows, columns = reference.shape
        images.append({"id": number, "height": rows, "width": columns})
        annotations.append(coco_entry(number, reference) | {"id": number})
        for place in range(5):
            moved = np.roll(prediction, place, axis=0)
            results.append(coco_entry(number, moved) | {"score": (number % 7 + 5 - place) / 12})
    categories = [{"id": 1, "name": "coronary artery"}]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def coco_entry(image: int, mask: BoolArray) -> dict[str, Any]:
    rle = encode_mask(mask)
    return {
        "image_id": image,
        "category_id": 1,
        "segmentation": {"size": list(rle.size), "counts": rle.counts},
        "bbox": list(mask_box(mask)),
        "area": int(mask.sum()),
        "iscrowd": 0,
    }


def our_precision(document: dict[str, Any], results: list[dict[str, Any]]) -> np.ndarray:
    patients = {image["id"]: f"patient {image['id'] // 6}" for image in document["images"]}
    resampling = Resampling(samples=2000, confidence=0.95, seed=0)
    precision = average_precision(document, results, patients, resampling)
    return np.array([precision.ap.mean, precision.ap50.mean])


def pycocotools_precision(document: dict[str, Any], results: list[dict[str, Any]]) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = document
        reference.createIndex()
        detections = reference.loadRes([dict(result) for result in results])
        evaluator = COCOeval(reference, detections, "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return np.asarray(evaluator.stats[:2])


def timed(function: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def report(title: str, frames: int, runs: dict[str, Callable[[], np.ndarray]]) -> Table:
    """Run all, the first being ours, and tabulate seconds, ratios and the largest disagreement."""
    table = Table(title=title)
    for column in ("", "CPU seconds", "ms a frame", "times ours", "differs by"):
        table.add_column(column, justify="right" if column else "left")
    measured = {name: timed(run) for name, run in runs.items()}
    our_seconds, our_result = next(iter(measured.values()))
    for name, (seconds, result) in measured.items():
        difference = np.abs(result - our_result).max()
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{1000 * seconds / frames:.1f}",
            f"{seconds / our_seconds:.2f}",
            f"{difference:.2g}",
        )
    return table


def main(
    frames: Annotated[int, typer.Option(min=1, help="Frames, a third of 1024².")] = 150,
) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    pairs = drawn_pairs(frames)
    document, results = coco_files(pairs)
    one_by_one(ours, pairs[:2]), one_by_one(with_monai, pairs[:2])  # imports that wait for a call
    console = Console()
    masks: dict[str, Callable[[], np.ndarray]] = {
        "ours, and clDice": partial(one_by_one, ours, pairs),
        "MONAI": partial(one_by_one, with_monai, pairs),
        "surface-distance": partial(one_by_one, with_surface_distance, pairs),
    }
    console.print(report("Dice and surface distances of one prediction a frame", frames, masks))
    precision: dict[str, Callable[[], np.ndarray]] = {
        "ours, and intervals": partial(our_precision, document, results),
        "pycocotools, without": partial(pycocotools_precision, document, results),
    }
    console.print(report("Mask AP of five instances a frame", frames, precision))


if __name__ == "__main__":
    typer.run(main)
