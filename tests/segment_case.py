"""A data set of named segments and the predictions of a model of a given skill, without a model.

Each artery is drawn as tubes in a fixed arrangement, jittered by frame. A simulated model says of
each phrase how sure it is and draws a mask: the segment's own, moved by its error, or that of a
neighbour where it confuses names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import (
    Category,
    Document,
    ImageEntry,
    annotate,
    encode_mask,
    mask_box,
    write_document,
)
from sam3_angio.files import write_json

NONSENSE = ("bicycle", "left kidney", "wug")
VIEWS = ((-30.0, 20.0), (40.0, 0.0), (-20.0, -25.0))
OFTEN_ABSENT = (4, 16, 21, 28)


@dataclass(frozen=True)
class Case:
    """One frame: masks of its visible segments by CASS number, one of them annotated."""

    number: int
    patient: str
    artery: str
    segment: int
    view: tuple[float, float]
    masks: dict[int, np.ndarray]
    spacing_mm: float | None = 0.3

    @property
    def frame_id(self) -> str:
        return f"{self.patient}-{self.number:08x}"

    @property
    def side(self) -> int:
        return len(next(iter(self.masks.values())))

    @property
    def image(self) -> ImageEntry:
        return ImageEntry(
            id=self.number,
            file_name=f"{self.frame_id}.png",
            width=self.side,
            height=self.side,
            frame_id=self.frame_id,
            patient=self.patient,
            artery=self.artery,
            cass_segment=self.segment,
            primary_deg=self.view[0],
            secondary_deg=self.view[1],
            spacing_row_mm=self.spacing_mm,
            spacing_column_mm=self.spacing_mm,
        )


@dataclass(frozen=True)
class Skill:
    """How well a simulated model does."""

    right_name: float = 0.8
    false_positive: float = 0.05
    found: float = 0.95
    moved_px: float = 1.0


def tube(place: int, side: int, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """One of nine tubes that do not touch each other."""
    row, column = divmod(place, 3)
    top, left = (1 + 3 * row) * side // 10, (1 + 3 * column) * side // 10
    length, thickness = side // 4, max(2, side // 16)
    mask = np.zeros((side, side), dtype=bool)
    top, left = max(0, top + shift[0]), max(0, left + shift[1])
    if place % 2:
        mask[top : top + length, left : left + thickness] = True
    else:
        mask[top : top + thickness, left : left + length] = True
    return mask


def drawn_cases(frames: int, patients: int, seed: int = 0, side: int = 64) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(1, frames + 1):
        artery = "RCA" if rng.random() < 0.3 else "LCA"
        own = [n for n in analysed_segments() if segments()[n].artery == artery]
        shift = tuple(rng.integers(-2, 3, 2).tolist())
        visible = [n for n in own if n not in OFTEN_ABSENT or rng.random() < 0.6]
        masks = {n: tube(own.index(n) % 9, side, shift) for n in visible}
        if len(own) > 9 and own[9] in masks:
            masks[own[9]] = np.roll(tube(8, side, shift), side // 8, axis=1)
        cases.append(
            Case(
                number=number,
                patient=f"p{number % patients:010x}",
                artery=artery,
                segment=int(rng.choice(visible)),
                view=VIEWS[number % len(VIEWS)],
                masks=masks,
            )
        )
    return cases


def write_data(folder: Path, cases: list[Case], truth: str = "phantom") -> None:
    """Write dataset/val/segments and truth/ as docs/reference/files.md says."""
    categories = tuple(Category(id=n, name=of.phrase) for n, of in segments().items())

    def document(wanted: list[tuple[Case, int]]) -> Document:
        return Document(
            images=tuple(case.image for case in cases),
            annotations=tuple(
                annotate(
                    case.masks[segment],
                    annotation_id=place,
                    image_id=case.number,
                    category_id=segment,
                    phrase=segments()[segment].phrase,
                )
                for place, (case, segment) in enumerate(wanted, 1)
            ),
            categories=categories,
        )

    annotated = document([(case, case.segment) for case in cases])
    write_document(folder / "dataset" / "val" / "segments" / "annotations.json", annotated)
    write_json(folder / "truth" / "truth.json", {"kind": truth})
    if truth != "none":
        visible = document([(case, segment) for case in cases for segment in case.masks])
        write_document(folder / "truth" / "segments.json", visible)


@dataclass(frozen=True)
class Said:
    """An answer: presence, and masks with scores relative to it, best first."""

    presence: float
    masks: tuple[tuple[float, np.ndarray], ...] = ()
    semantic: np.ndarray | None = None


def simulated(case: Case, segment: int, skill: Skill, rng: np.random.Generator) -> Said:
    """What a model of this skill says of a phrase; 0 is a phrase that names nothing."""
    there = segment in case.masks
    if rng.random() >= (skill.found if there else skill.false_positive):
        return Said(presence=float(rng.uniform(0.01, 0.45)))
    presence = float(rng.uniform(0.55, 0.99))
    own = segment if there else int(rng.choice(list(case.masks)))
    if there and rng.random() >= skill.right_name:
        own = int(rng.choice([n for n in case.masks if n != own] or [own]))
    moved = np.rint(rng.normal(0, skill.moved_px, 2)).astype(int)
    mask = np.roll(case.masks[own], tuple(moved), axis=(0, 1))
    second = np.roll(mask, 3, axis=0)
    return Said(presence=presence, masks=((0.97, mask), (0.4, second)), semantic=mask)


def answers_of(cases: list[Case], skill: Skill, seed: int = 0) -> dict[tuple[int, str], Said]:
    """Simulated answers by frame's number and phrase."""
    rng = np.random.default_rng(seed)
    said = {}
    for case in cases:
        for number in analysed_segments():
            said[case.number, segments()[number].phrase] = simulated(case, number, skill, rng)
        for phrase in NONSENSE:
            said[case.number, phrase] = simulated(case, 0, skill, rng)
    return said


def write_predictions(folder: Path, cases: list[Case], said: dict[tuple[int, str], Said]) -> None:
    """Write queries.json and results.json."""
    by_number = {case.number: case for case in cases}
    category = {segments()[n].phrase: n for n in analysed_segments()}
    queries, results = [], []
    for query_id, ((number, phrase), answer) in enumerate(said.items(), 1):
        base = {
            "query_id": query_id,
            "image_id": number,
            "category_id": category.get(phrase, 0),
        }
        frame_id = by_number[number].frame_id
        asked = {"phrase": phrase, "asked": f"{phrase}, RAO 30", "presence": answer.presence}
        queries.append(base | {"frame_id": frame_id} | asked)
        masks = [(answer.presence * part, mask, "instance") for part, mask in answer.masks]
        if answer.semantic is not None:
            masks.append((answer.presence, answer.semantic, "semantic"))
        for score, mask, kind in masks:
            code = {"segmentation": asdict(encode_mask(mask)), "bbox": list(mask_box(mask))}
            results.append(base | {"score": score, "kind": kind} | code)
    write_json(folder / "queries.json", queries, indent=None)
    write_json(folder / "results.json", results, indent=None)
