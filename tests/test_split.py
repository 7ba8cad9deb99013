"""The partition by patient."""

from __future__ import annotations

import csv
import hashlib
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from small_site import ROWS
from test_convert import Converted

from sam3_angio.errors import DataError
from sam3_angio.manifest import ManifestRow, frame_id, pseudonym
from sam3_angio.pictures import pack_pictures, read_picture
from sam3_angio.split import (
    SIDES,
    Split,
    group_by_patient,
    place,
    split_patients,
    split_warnings,
    write_dataset,
)
from stages.split import main as split_stage

SALT = "5a" * 32


@cache
def row(patient_id: str, artery: str = "RCA", index: int = 3, salt: str = SALT) -> ManifestRow:
    run = f"{patient_id}/{artery}.dcm"
    return ManifestRow(
        frame_id=frame_id(patient_id, run, index, 2, salt),
        patient=pseudonym(patient_id, salt),
        patient_id=patient_id,
        vessel_pattern="MID",
        phase="INDEX",
        artery="RCA" if artery == "RCA" else "LCA",
        cass_segment=2 if artery == "RCA" else 13,
        cass_segment_original="",
        frame_index=index,
        primary_deg=0.0,
        secondary_deg=0.0,
        dicom=run,
        dicom_bytes=1,
        dicom_sha256=hashlib.sha256(run.encode()).hexdigest(),
        pseudo_label="",
        contour="",
        mask="",
        row=2,
    )


def sides(rows: list[ManifestRow], fraction: float = 0.2, seed: int = 0) -> dict[str, str]:
    """Return the side of each folded identifier."""
    split = split_patients(group_by_patient(rows), fraction, seed)
    return {group.folded_id: side for side in SIDES for group in split.side(side)}


people = [f"ALL RISE {site}-{number:04d}" for site in (101, 102) for number in range(100)]


def test_a_place_is_the_hash_of_seed_and_identifier() -> None:
    digest = hashlib.sha256(b"7\n101-0025").digest()
    expected = int.from_bytes(digest[:8], "big") / 2**64
    assert place("101-0025", seed=7) == pytest.approx(expected, abs=1e-15)


def test_places_are_uniform() -> None:
    places = np.sort([place(f"patient {number}", seed=1) for number in range(4000)])
    # Kolmogorov and Smirnov's distance from the uniform distribution; 1.63/√n has p = 0.01.
    assert np.abs(places - np.arange(4000) / 4000).max() < 1.63 / np.sqrt(4000)


def test_the_wanted_fraction_is_met_on_average() -> None:
    shares = []
    for seed in range(50):
        found = sides([row(person) for person in people], seed=seed)
        shares.append(sum(side == "val" for side in found.values()) / len(found))
    assert np.mean(shares) == pytest.approx(0.2, abs=0.012)
    assert np.std(shares) == pytest.approx(np.sqrt(0.2 * 0.8 / len(people)), rel=0.3)


def test_each_artery_gets_the_wanted_fraction_on_average() -> None:
    rows = [
        row(person, artery) for person, artery in zip(people, ["RCA", "LCA"] * 100, strict=True)
    ]
    for artery in ("RCA", "LCA"):
        chosen = {r.patient_id.replace(" ", "-") for r in rows if r.artery == artery}
        shares = [
            np.mean([side == "val" for name, side in sides(rows, seed=s).items() if name in chosen])
            for s in range(30)
        ]
        assert np.mean(shares) == pytest.approx(0.2, abs=0.025)


@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(shuffler: random.Random) -> None:
    rows = [row(person, artery) for person in people[:40] for artery in ("RCA", "LCA")]
    before = sides(rows)
    shuffler.shuffle(rows)
    assert sides(rows) == before


@given(st.sets(st.sampled_from(people), min_size=60))
def test_patients_who_are_added_move_nobody(present: set[str]) -> None:
    everybody = sides([row(person) for person in people])
    some = sides([row(person) for person in sorted(present)])
    assert some.items() <= everybody.items()


def test_frames_that_are_added_move_nobody() -> None:
    before = sides([row(person, "RCA") for person in people])
    after = sides([row(person, artery) for person in people for artery in ("RCA", "LCA")])
    assert before == after


def test_the_salt_changes_nothing() -> None:
    rows = [row(person, salt="00" * 32) for person in people]
    assert sides(rows) == sides([row(person) for person in people])


def test_a_larger_fraction_takes_patients_and_gives_none_back() -> None:
    rows = [row(person) for person in people]
    small, large = sides(rows, 0.1), sides(rows, 0.4)
    assert all(large[name] == "val" for name, side in small.items() if side == "val")


def test_another_seed_is_another_split() -> None:
    rows = [row(person) for person in people]
    assert sides(rows, seed=0) != sides(rows, seed=1)


@given(st.integers(0, 2**31 - 1), st.floats(0.15, 0.85))
def test_no_patient_is_in_two_splits(seed: int, fraction: float) -> None:
    rows = [row(p, a, i) for p in people for a in ("RCA", "LCA") for i in (3, 4)]
    split = split_patients(group_by_patient(rows), fraction, seed)
    train, val = ({r.patient for g in split.side(side) for r in g.rows} for side in SIDES)
    assert not train & val
    assert train | val == {r.patient for r in rows}
    assert sum(len(g.rows) for side in SIDES for g in split.side(side)) == len(rows)


def test_spellings_of_a_patient_are_on_one_side() -> None:
    rows = [row(person) for person in people]
    rows += [
        replace(row(person, "LCA"), patient_id=person.lower().replace("-", "\u2013"))
        for person in people
    ]
    groups = group_by_patient(rows)
    assert len(groups) == len(people)
    assert all(group.has("RCA") and group.has("LCA") for group in groups)


def test_a_run_under_two_identifiers_is_refused() -> None:
    first, second = (
        row(people[0]),
        replace(row(people[1]), dicom_sha256=row(people[0]).dicom_sha256),
    )
    with pytest.raises(DataError, match="one identifier") as caught:
        group_by_patient([first, second])
    assert "ALL RISE" not in str(caught.value)


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_an_empty_side_is_refused(fraction: float, side: str) -> None:
    with pytest.raises(DataError, match=f"no patient of 200 is in '{side}'"):
        sides([row(person) for person in people], fraction)


def test_an_artery_that_one_side_lacks_is_reported() -> None:
    groups = group_by_patient([row(people[0], "LCA"), row(people[1]), row(people[2])])
    split = Split(train=groups[:2], val=groups[2:])
    assert [fault.message for fault in split_warnings(split)] == ["no LCA is in 'val'."]
    only_right = group_by_patient([row(people[1]), row(people[2])])
    assert split_warnings(Split(train=only_right[:1], val=only_right[1:])) == []


class Dataset(Converted):
    """A converted site with pictures, and the split of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.load()
        self.run()
        self.frames = folder / "frames"
        self.frames.mkdir()
        for entry in self.rows:
            (self.frames / f"{entry.frame_id}.png").write_bytes(entry.frame_id.encode())
        self.dataset = folder / "dataset"
        groups = group_by_patient(self.rows)
        self.split = Split(train=groups[:2], val=groups[2:])

    def write(self) -> None:
        write_dataset(self.split, self.out, self.frames, self.dataset)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "site")


def test_the_data_set_is_loaded_by_pycocotools(data: Dataset) -> None:
    data.write()
    for side, count in (("train", 4), ("val", 2)):
        pictures = {path.name for path in (data.dataset / side / "images").iterdir()}
        for task in ("vessel_tree", "segments"):
            document = COCO(str(data.dataset / side / task / "annotations.json"))
            assert {image["file_name"] for image in document.imgs.values()} == pictures
            assert len(document.anns) == count
            assert all(document.annToMask(m).shape[0] == ROWS for m in document.anns.values())


def test_ids_are_those_of_all_frames(data: Dataset) -> None:
    data.write()
    whole = COCO(str(data.out / "segments.json"))
    for side in SIDES:
        part = COCO(str(data.dataset / side / "segments" / "annotations.json"))
        assert all(whole.imgs[number] == image for number, image in part.imgs.items())
        assert all(whole.anns[number] == mark for number, mark in part.anns.items())


def test_the_table_lists_every_frame_once(data: Dataset) -> None:
    data.write()
    with (data.dataset / "split.csv").open(newline="") as stream:
        listed = {line["frame_id"]: line for line in csv.DictReader(stream)}
    assert listed.keys() == {entry.frame_id for entry in data.rows}
    for side in SIDES:
        names = {path.stem for path in (data.dataset / side / "images").iterdir()}
        assert {name for name, line in listed.items() if line["split"] == side} == names


def test_pictures_are_the_frames(data: Dataset) -> None:
    data.write()
    for path in data.dataset.rglob("*.png"):
        assert path.read_bytes() == (data.frames / path.name).read_bytes()


def test_pictures_are_copied_where_they_cannot_be_linked(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    data.write()
    assert len(list(data.dataset.rglob("*.png"))) == 6


def test_a_frame_without_a_label_is_not_in_the_document_of_its_task(tmp_path: Path) -> None:
    class Partial(Dataset):
        def load(self) -> None:
            self.site.rows[0]["deepsa_pseudo_label_path"] = ""
            super().load()

    data = Partial(tmp_path / "site")
    data.write()
    tree, segments = (
        sum(len(COCO(str(data.dataset / side / task / "annotations.json")).imgs) for side in SIDES)
        for task in ("vessel_tree", "segments")
    )
    assert (tree, segments) == (5, 6)
    assert len(list(data.dataset.rglob("*.png"))) == 6


def test_a_missing_picture_is_told(data: Dataset) -> None:
    for entry in data.rows[:2]:
        (data.frames / f"{entry.frame_id}.png").unlink()
    with pytest.raises(DataError) as caught:
        data.write()
    assert len(caught.value.faults) == 2
    assert not data.dataset.exists()


def test_documents_of_other_frames_are_refused(data: Dataset) -> None:
    data.split = Split(train=data.split.train[:1], val=data.split.val)
    with pytest.raises(DataError, match="Run convert again"):
        data.write()


def test_writing_again_replaces_what_was_there(data: Dataset) -> None:
    data.write()
    before = {p.relative_to(data.dataset): p.read_bytes() for p in data.dataset.rglob("*.*")}
    (data.dataset / "train" / "images" / "stale.png").touch()
    data.write()
    assert {
        p.relative_to(data.dataset): p.read_bytes() for p in data.dataset.rglob("*.*")
    } == before


def test_no_identifier_leaves_the_data_folder(data: Dataset) -> None:
    data.write()
    for path in data.dataset.rglob("*.*"):
        assert b"ALL RISE" not in path.read_bytes()
        assert not any(part in str(path.relative_to(data.dataset)) for part in ("ALL RISE", "101-"))


def test_the_stage_writes_the_data_set_and_shows_the_sides(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = (Path(__file__).parents[1] / "params.yaml").read_text()
    monkeypatch.chdir(data.site.folder)
    Path("params.yaml").write_text(parameters.replace("val_fraction: 0.2", "val_fraction: 0.5"))
    split_stage(data.site.out / "manifest.csv", data.out, data.frames, data.dataset)
    expected = split_patients(group_by_patient(data.rows), 0.5, 0)
    pictures = {path.stem for path in (data.dataset / "val" / "images").iterdir()}
    assert pictures == {r.frame_id for group in expected.val for r in group.rows}
    assert "frames RCA" in capsys.readouterr().out


def test_frames_in_archives_stay_in_archives(data: Dataset) -> None:
    patients = {f"{entry.frame_id}.png": entry.patient for entry in data.rows}
    pack_pictures(data.frames, patients, 2)
    data.write()
    for side in SIDES:
        images = data.dataset / side / "images"
        assert {path.suffix for path in images.iterdir()} == {".zip"}
        for group in data.split.side(side):
            for entry in group.rows:
                assert read_picture(images / f"{entry.frame_id}.png") == entry.frame_id.encode()
