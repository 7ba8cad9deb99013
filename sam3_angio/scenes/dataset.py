"""Scenes as a folder: for looking at, for other tools, and as a fixed held-out set.

Training needs no such folder, since scenes are drawn faster than they are learnt from.

Conventions
-----------
``images/{seed}.png`` is 8-bit grey. ``annotations.json`` is COCO: a category a phrase, an
annotation an instance, masks as compressed run lengths. COCO cannot say that a phrase was asked
and is absent, so ``queries.json`` lists every question: ``{"query_id", "image_id", "category_id",
"phrase", "family", "present"}``; an annotation carries its ``query_id``. Identifiers count from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3_angio.children import end_with_parent
from sam3_angio.coco import encode_mask, mask_box
from sam3_angio.errors import DataError
from sam3_angio.files import replacing, write_json
from sam3_angio.progress import tracked
from sam3_angio.scenes.questions import SceneQuery, scene_queries

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlan:
    """Which scenes are drawn, and how many phrases are asked of each.

    Attributes
    ----------
    count : int
    first_seed : int
        Scenes `first_seed` to `first_seed` + `count` - 1. Sets that must not share scenes take
        ranges that do not overlap.
    size_px : int
    n_positive, n_negative : int
        At most so many true and false phrases a scene.
    """

    count: int
    first_seed: int
    size_px: int
    n_positive: int = 4
    n_negative: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A scene whose picture is on the disk: its queries, and the instances of each."""

    seed: int
    queries: tuple[SceneQuery, ...]
    instances: tuple[tuple[Record, ...], ...]


def _instance(mask: NDArray[np.bool_]) -> Record:
    run_lengths = encode_mask(mask)
    return {
        "segmentation": {"size": list(run_lengths.size), "counts": run_lengths.counts},
        "bbox": list(mask_box(mask)),
        "area": int(np.count_nonzero(mask)),
        "iscrowd": 0,
    }


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    encoded, buffer = cv2.imencode(".png", image)
    if not encoded:
        raise DataError.at(path.name, "the picture could not be encoded as PNG.")
    path.write_bytes(buffer.tobytes())


def _write_scene(folder: Path, plan: ScenePlan, seed: int) -> _Written:
    scene, asked = scene_queries(seed, plan.size_px, plan.n_positive, plan.n_negative)
    _write_image(folder / f"{seed}.png", scene.image)
    instances = tuple(tuple(_instance(mask) for mask in query.masks) for query in asked)
    # the masks themselves need not travel between processes
    bare = tuple(replace(query, masks=()) for query in asked)
    return _Written(seed=seed, queries=bare, instances=instances)


@contextmanager
def _drawn(folder: Path, plan: ScenePlan, processes: int) -> Iterator[Iterable[_Written]]:
    """Draw the scenes in order, in as many processes as are wanted."""
    draw = partial(_write_scene, folder, plan)
    seeds = range(plan.first_seed, plan.first_seed + plan.count)
    if processes == 1:
        yield map(draw, seeds)
        return
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=end_with_parent
    ) as pool:
        yield pool.map(draw, seeds, chunksize=16)


def _tables(plan: ScenePlan, scenes: list[_Written]) -> tuple[Record, list[Record]]:
    """Return the COCO document and the list of queries."""
    phrases = sorted({query.phrase for scene in scenes for query in scene.queries})
    category_ids = {phrase: number for number, phrase in enumerate(phrases, 1)}
    images: list[Record] = []
    annotations: list[Record] = []
    asked: list[Record] = []
    for image_id, scene in enumerate(scenes, 1):
        side = {"width": plan.size_px, "height": plan.size_px}
        images.append({"id": image_id, "file_name": f"{scene.seed}.png", **side})
        for query, instances in zip(scene.queries, scene.instances, strict=True):
            entry = {
                "query_id": len(asked) + 1,
                "image_id": image_id,
                "category_id": category_ids[query.phrase],
            }
            asked.append(
                {**entry, "phrase": query.phrase, "family": query.family, "present": query.present}
            )
            annotations += [
                {"id": number, **entry, **instance, "noun_phrase": query.phrase}
                for number, instance in enumerate(instances, len(annotations) + 1)
            ]
    categories = [{"id": number, "name": phrase} for phrase, number in category_ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}, asked


def write_scenes(out: Path, plan: ScenePlan, processes: int = 1) -> None:
    """Write scenes with their queries as a folder.

    Parameters
    ----------
    out : Path
        Folder; it appears whole or not at all, and replaces one that is there.
    plan : ScenePlan
    processes : int
        How many draw at once; the files are the same with any number.

    Raises
    ------
    ValueError
        If the plan has no scene, or as in `sam3_angio.scenes.scene.draw_scene`.
    """
    if plan.count < 1 or processes < 1:
        raise ValueError(f"count {plan.count} and processes {processes} must be at least 1")
    with replacing(out) as temporary:
        images = temporary / "images"
        images.mkdir(parents=True)
        with _drawn(images, plan, processes) as drawn:
            document, asked = _tables(plan, list(tracked(drawn, plan.count, "drawing scenes")))
        write_json(temporary / "annotations.json", document, indent=None)
        write_json(temporary / "queries.json", asked, indent=None)
