"""The view of each query, brought into a batch.

``sam3`` copies the declared fields of its batches to the device and drops whatever else is hung on
them; so the view travels in fields of a subclass of its stage of queries.

Conventions
-----------
B is the number of queries of a batch, which is the first dimension of all that is added; R is the
side of the model's pictures. Boxes are ``(cx, cy, w, h)`` in fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam3.model.data_misc import FindStage
from sam3.train.data.collator import collate_fn_api
from sam3.train.data.sam3_image_dataset import Datapoint

from sam3_angio.detector.frames import FrameStore
from sam3_angio.view_table import Exemplar, ViewTable, load_table


@dataclass(kw_only=True)
class ViewStage(FindStage):  # type: ignore[misc]
    """SAM 3's queries of a batch, with the view of each.

    Attributes
    ----------
    angles_deg : (B, 2) tensor
        Primary and secondary.
    exemplar_ids : (B,) tensor of int64
        Annotation that is the query's exemplar; -1 for none.
    exemplar_boxes : (B, 4) tensor
    exemplar_pictures : (B, R, R) tensor of uint8
        Grey values; without rows and columns where no query has an exemplar.
    """

    angles_deg: torch.Tensor
    exemplar_ids: torch.Tensor
    exemplar_boxes: torch.Tensor
    exemplar_pictures: torch.Tensor


class ViewCollator:
    """SAM 3's collator, and the view of each query from a table.

    Parameters
    ----------
    table : str
        File of a :class:`~sam3_angio.view_table.ViewTable`.
    store : str
        Folder of the prepared training frames, which exemplars are taken from.
    **options
        Of the stock collator.
    """

    def __init__(self, *, table: str, store: str, **options: Any) -> None:
        self._table: ViewTable = load_table(Path(table))
        self._store = FrameStore(Path(store))
        self._options = options

    def __call__(self, samples: list[Datapoint]) -> dict[str, Any]:
        """Make a batch of samples."""
        batches: dict[str, Any] = collate_fn_api(samples, **self._options)
        for batch in batches.values():
            details = batch.find_metadatas[0]
            asked = list(
                zip(
                    details.original_image_id.tolist(),
                    details.original_category_id.tolist(),
                    strict=True,
                )
            )
            batch.find_inputs = [self._with_view(batch.find_inputs[0], asked)]
        return batches

    def _with_view(self, stage: FindStage, asked: Sequence[tuple[int, int]]) -> ViewStage:
        views = [self._table.angles[image_id] for image_id, _ in asked]
        found = [self._table.exemplar_of.get(pair) for pair in asked]
        stock = {field.name: getattr(stage, field.name) for field in fields(FindStage)}
        return ViewStage(
            **stock,
            angles_deg=torch.tensor([(view.primary_deg, view.secondary_deg) for view in views]),
            exemplar_ids=torch.tensor([e.annotation_id if e else -1 for e in found]),
            exemplar_boxes=torch.tensor([e.box if e else (0.5, 0.5, 1.0, 1.0) for e in found]),
            exemplar_pictures=torch.from_numpy(self._pictures(found)),
        )

    def _pictures(self, found: Sequence[Exemplar | None]) -> NDArray[np.uint8]:
        side_px = self._store.side_px if any(found) else 0
        pictures = np.zeros((len(found), side_px, side_px), dtype=np.uint8)
        for place, exemplar in enumerate(found):
            if exemplar:
                pictures[place] = self._store.picture(exemplar.from_image_id)
        return pictures
