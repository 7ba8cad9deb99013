"""Names, dates and identifiers are planted wherever a site's data can hold them; none comes out.

They are searched for in every encoding that :mod:`sam3_angio.disclosure` knows, in the names and
contents of all that import, extract, convert and split write, and in what they print.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary, dictionary_has_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from ruamel.yaml import YAML
from small_site import PATIENTS, SmallSite, segment_mask, tree_mask

from sam3_angio.disclosure import Secrets, spellings, unpacked
from sam3_angio.errors import AngioError
from stages.convert import main as convert_stage
from stages.extract import extract as extract_stage
from stages.split import main as split_stage

ROOT = Path(__file__).parents[1]
#: By value representation, what is written into every element of the dictionary that is text.
PLANTED: dict[str, str] = {
    "PN": "Quelbrooke^Ilsebeth",
    "LO": "Vélmorrow 19510203",
    "SH": "Tharnwick",
    "LT": "Isselgard was here",
    "ST": "Wexelhart Road 7",
    "UT": "Pellworthy wrote this",
    "UC": "Corvenholm",
    "DA": "19510203",
    "DT": "19510203040506",
    "UI": "1.2.826.0.1.4711.4712.4713",
    "AE": "ZANDRECHT",
}
ELSEWHERE = ("Hallespont", "Marquillon", "Snellgrave")  # private tags, pictures, contours
GROUPS = frozenset({0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040})
#: What the reader, or pydicom while it writes, needs.
NEEDED = re.compile(
    r"SOPClassUID|Modality|SpecificCharacterSet|ImageType|.*Length.*|.*CharacterSet.*|.*Position.*"
)
SECRETS = spellings(
    [*PATIENTS, *(p.removeprefix("ALL RISE ") for p in PATIENTS), *ELSEWHERE]
    + [word for text in PLANTED.values() for word in re.split(r"[\^ ]", text) if len(word) > 5]
)


def _planted_dataset(run: Dataset) -> None:
    """Fill all text elements of the dictionary, private ones, and a sequence of them."""
    for tag, (vr, _vm, _name, is_retired, keyword) in DicomDictionary.items():
        known = dictionary_has_tag(tag) and tag >> 16 in GROUPS and keyword and not is_retired
        if known and vr in PLANTED and not NEEDED.fullmatch(keyword):
            run.add_new(tag, vr, PLANTED[vr])
    item = Dataset()
    item.PatientName, item.StudyDate = PLANTED["PN"], PLANTED["DA"]
    run.ReferencedPatientSequence = Sequence([item])
    for group in (0x0009, 0x0029, 0x7FE1):
        run.private_block(group, "SNELLGRAVE 1", create=True).add_new(1, "LO", ELSEWHERE[0])


class PlantedSite(SmallSite):
    """A small site that holds planted values wherever there is room for them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for number in range(len(self.rows)):
            self._plant(number)
        self.write()
        self.import_summary = self.run()

    def _plant(self, number: int) -> None:
        path = self.file(number, "dicom_path")
        run = pydicom.dcmread(path)
        _planted_dataset(run)
        run.StudyInstanceUID = f"{PLANTED['UI']}.{number // 2}"
        run.preamble = b"Hallespont".ljust(128)
        run.save_as(path)
        contour = self.file(number, "medis_contour_path")
        content = json.loads(contour.read_text())
        content |= {"operator": ELSEWHERE[1], "patient": {"name": PLANTED["PN"]}}
        contour.write_text(json.dumps(content))
        for column, mask in (
            ("medis_mask_path", segment_mask()),
            ("deepsa_pseudo_label_path", tree_mask()),
        ):
            texts = PngImagePlugin.PngInfo()
            texts.add_text("Comment", ELSEWHERE[2], zip=True)
            Image.fromarray(mask).save(self.file(number, column), "PNG", pnginfo=texts)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> PlantedSite:
    return PlantedSite(tmp_path_factory.mktemp("Quelbrooke"))


@pytest.fixture
def repository(
    imported: PlantedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    yaml = YAML()
    parameters = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    parameters["data"]["dicom_root"] = str(imported.angios)
    parameters["machine"]["processes"] = 1
    parameters["split"].update(val_fraction=0.4, seed=1)
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(parameters, stream)
    (tmp_path / "data").symlink_to(imported.out)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def _extract() -> None:
    data = Path("data")
    extract_stage(
        data / "manifest.csv", data / "labels", Path("frames"), Path("checks/extract.csv")
    )


def _convert() -> None:
    data, geometry = Path("data"), Path("frames/geometry.csv")
    findings = Path("checks/convert.csv")
    convert_stage(data / "manifest.csv", data / "labels", geometry, Path("converted"), findings)


def _split() -> None:
    split_stage(Path("data/manifest.csv"), Path("converted"), Path("frames"), Path("dataset"))


def _leaks(folder: Path, secrets: Secrets = SECRETS) -> list[str]:
    """Return the files of a folder that hold a secret in name or content."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    return [
        path.relative_to(folder).as_posix()
        for path in files
        if secrets.are_in(path.relative_to(folder).as_posix().encode())
        or any(secrets.are_in(part) for part in unpacked(path.read_bytes()))
    ]


def test_what_is_planted_would_be_found(imported: PlantedSite) -> None:
    assert len(_leaks(imported.angios)) == len(imported.rows)
    assert len(_leaks(imported.labels)) == 3 * len(imported.rows)
    run = pydicom.dcmread(imported.file(0, "dicom_path"))
    texts = [element for element in run.iterall() if element.VR in PLANTED]
    assert len(texts) > 300


def test_an_import_keeps_identifiers_in_its_manifest_and_contours_alone(
    imported: PlantedSite,
) -> None:
    leaks = _leaks(imported.out)
    contours = sorted(f"labels/contours/{p.name}" for p in imported.out.glob("labels/contours/*"))
    assert leaks == [*contours, "manifest.csv"]
    assert not SECRETS.are_in(repr(imported.import_summary).encode())


def test_no_stage_writes_or_prints_what_was_planted(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for stage in (_extract, _convert, _split):
        stage()
    for folder in ("frames", "checks", "converted", "dataset"):
        assert _leaks(repository / folder) == []
    printed = capfd.readouterr()
    assert "6 frames" in printed.out
    assert not SECRETS.are_in((printed.out + printed.err).encode())


def _break_run(site: PlantedSite, number: int) -> Path:
    path = site.file(number, "dicom_path")
    path.write_bytes(path.read_bytes()[:-3000])
    return path


def _break_contour(site: PlantedSite, number: int) -> Path:
    path = sorted(site.out.glob("labels/contours/*"))[number]
    path.write_text(path.read_text()[:-40])
    return path


def _break_mask(site: PlantedSite, number: int) -> Path:
    path = sorted(site.out.glob("labels/masks/*"))[number]
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("harm", [_break_run, _break_contour, _break_mask])
def test_no_error_repeats_what_was_planted(
    imported: PlantedSite, repository: Path, harm: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    content: dict[Path, bytes] = {}
    everything = [p for p in imported.folder.rglob("*") if p.is_file()]
    before = {path: path.read_bytes() for path in everything}
    try:
        content[harm(imported, 1)] = b""
        with pytest.raises(AngioError) as caught:
            _extract()
            _convert()
    finally:
        for path in content:
            path.write_bytes(before[path])
    printed = capfd.readouterr()
    told = f"{caught.value}{caught.value.faults}{printed.out}{printed.err}"
    assert not SECRETS.are_in(told.encode())
    assert _leaks(repository / "checks") == []
