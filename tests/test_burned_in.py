"""Names that are drawn into pictures: found, told, and made black where that is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError
from small_site import SmallSite
from xa_files import write_run

from sam3_angio.checking.data_set import check_site
from sam3_angio.config import ExtractConfig
from sam3_angio.dicom.burned_in import Blanking, blanked, text_boxes
from sam3_angio.errors import DataError
from sam3_angio.extraction import Extraction, ExtractionSettings, extract_frames
from sam3_angio.geometry_table import read_geometry
from sam3_angio.manifest import ManifestRow

NAME, SIDE, FRAMES, WANTED = "MEYER^ANNA 1951", 256, 6, 3
TOP_LEFT, BOTTOM_RIGHT = (8, 6), (150, 236)
NOTHING = Blanking()


def angiogram(side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Return a run of a still background, a moving dark vessel, and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    frames = []
    for k in range(FRAMES):
        line = np.exp(-(((y - 0.1 - 0.7 * x - 0.02 * k) / 0.012) ** 2))
        picture = 130 + 40 * np.sin(3 * x + 1) - 90 * line + random.normal(0, 5, x.shape)
        frames.append(np.clip(picture, 0, 255).astype(np.uint8))
    return np.array(frames)


def with_text(
    run: np.ndarray, place: tuple[int, int], fill: int = 255, step: int = 0
) -> np.ndarray:
    """Draw the name into every frame, `step` pixels farther in each."""
    drawn = []
    for k, frame in enumerate(run):
        picture = Image.fromarray(frame)
        font = ImageFont.load_default(12)
        where = (place[0] + step * k, place[1])
        ImageDraw.Draw(picture).text(where, NAME, fill=fill, font=font)
        drawn.append(np.asarray(picture))
    return np.array(drawn)


def _row(root: Path, frame_index: int = WANTED) -> ManifestRow:
    content = (root / "run.dcm").read_bytes()
    return ManifestRow(
        frame_id=f"p{1:010x}-{frame_index:08x}", patient=f"p{1:010x}", patient_id="P-1",
        vessel_pattern="MID RCA", phase="BASELINE", artery="RCA", cass_segment=2,
        cass_segment_original="", frame_index=frame_index, primary_deg=30.0, secondary_deg=0.0,
        dicom="run.dcm", dicom_bytes=len(content),
        dicom_sha256=hashlib.sha256(content).hexdigest(),
        pseudo_label="", contour="", mask="", row=2,
    )  # fmt: skip


def extracted(
    folder: Path, run: np.ndarray, blanking: Blanking = NOTHING, **changes: object
) -> tuple[np.ndarray, tuple[tuple[int, int, int, int], ...], Extraction]:
    """Extract a frame; return the picture, what the table says was made black, and the summary."""
    write_run(folder / "run.dcm", run, 8, WindowCenter="128", WindowWidth="256", **changes)
    settings = ExtractionSettings(
        dicom_root=folder, data_folder=folder, percentile_low=0.5, percentile_high=99.5,
        blanking=blanking,
    )  # fmt: skip
    row = _row(folder)
    found = extract_frames([row], folder / "frames", settings, 1)
    with Image.open(folder / "frames" / f"{row.frame_id}.png") as picture:
        pixels = np.asarray(picture)
    return pixels, read_geometry(folder / "frames/geometry.csv")[row.frame_id].blanked, found


def test_a_planted_name_is_found_told_by_its_place_alone_and_left_unless_asked(tmp_path):
    run = with_text(angiogram(), TOP_LEFT)
    pixels, boxes, found = extracted(tmp_path, run)
    assert np.array_equal(pixels, run[WANTED])
    assert boxes == ()
    (warning,) = found.warnings
    assert "burned-in text" in warning.message
    assert "MEYER" not in str(warning)


@pytest.mark.parametrize("place", [TOP_LEFT, BOTTOM_RIGHT])
@pytest.mark.parametrize("fill", [255, 0])
def test_a_planted_name_is_gone_where_text_is_made_black(tmp_path, place, fill):
    plain = angiogram()
    run = with_text(plain, place, fill)
    pixels, boxes, found = extracted(tmp_path, run, Blanking(text=True))
    letters = run[WANTED] != plain[WANTED]
    black = np.zeros_like(letters)
    for left, top, right, bottom in boxes:
        black[top:bottom, left:right] = True
    assert letters.any() and black[letters].all()
    assert not pixels[black].any()
    assert np.array_equal(pixels[~black], plain[WANTED][~black])
    assert black.mean() < 0.15
    assert found.warnings == ()


def test_a_region_is_black_in_every_frame_and_written_down(tmp_path):
    run = with_text(angiogram(), TOP_LEFT)
    pixels, boxes, found = extracted(tmp_path, run, Blanking(regions=((0, 0, 0.501, 0.1),)))
    assert boxes == ((0, 0, 129, 26),)
    assert not pixels[:26, :129].any()
    assert np.array_equal(pixels[26:], run[WANTED][26:])
    assert found.warnings == ()


@pytest.mark.parametrize("seed", range(3))
def test_an_angiogram_without_text_is_left_as_it_is(seed):
    run = angiogram(seed=seed)
    result = blanked(run[WANTED], lambda: run[0], Blanking(text=True))
    assert result.picture is run[WANTED] or np.array_equal(result.picture, run[WANTED])
    assert (result.boxes, result.left) == ((), ())


def test_marks_that_move_are_no_text():
    run = with_text(angiogram(), TOP_LEFT, step=5)
    assert text_boxes(run[WANTED], lambda: run[0]) == []
    still = with_text(angiogram(), TOP_LEFT)
    assert text_boxes(still[WANTED], lambda: still[0])


def test_marks_in_a_run_of_one_frame_are_believed():
    picture = with_text(angiogram(), TOP_LEFT)[WANTED]
    assert text_boxes(picture, lambda: None)


@pytest.mark.parametrize("side", [512, 1024])
def test_letters_of_two_percent_of_the_height_are_found_at_any_size(side):
    run = angiogram(side)
    drawn = []
    for frame in run:
        picture = Image.fromarray(frame)
        font = ImageFont.load_default(side // 40)
        ImageDraw.Draw(picture).text((10, side - side // 20), NAME, fill=250, font=font)
        drawn.append(np.asarray(picture))
    assert text_boxes(drawn[WANTED], lambda: drawn[0])


@pytest.mark.parametrize("region", [(0.5, 0, 0.5, 1), (0, 0.4, 1, 0.2), (0, 0, 1.2, 1), (0, 0, 1)])
def test_a_region_without_an_area_in_the_frame_is_refused(region):
    values = {"percentile_low": 0.5, "percentile_high": 99.5, "shards": 0, "blank_text": False}
    with pytest.raises(ValidationError):
        ExtractConfig(blank=[region], **values)
    assert ExtractConfig(blank=[(0, 0, 1, 0.1)], **values).blank


def test_a_window_that_leaves_nothing_to_see_is_refused(tmp_path):
    with pytest.raises(DataError, match="grey levels of the frame"):
        extracted(tmp_path, angiogram(), RescaleIntercept="9000", RescaleSlope="1")


# --- what the check says --------------------------------------------------------------------------


def _told(site: SmallSite, *, decode: bool = False) -> list[tuple[int | None, str]]:
    found = check_site(
        site.table, dicom_root=site.angios, primary_sign="RAO+", path_maps=site.maps, processes=1,
        decode=decode,
    )  # fmt: skip
    texts = ("BurnedInAnnotation", "overlays", "burned-in text")
    return [(f.row, f.found) for f in found.findings if any(text in f.found for text in texts)]


def _change(site: SmallSite, number: int, change) -> None:
    path = site.file(number, "dicom_path")
    run = pydicom.dcmread(path)
    change(run)
    run.save_as(path)


def test_the_check_tells_once_where_headers_say_nothing_of_burned_in_text(tmp_path):
    site = SmallSite(tmp_path)
    site.write()
    assert _told(site) == []
    for number in (0, 3):
        _change(site, number, lambda run: delattr(run, "BurnedInAnnotation"))
    assert _told(site) == [(None, "BurnedInAnnotation is not given for 2 of 6 frames.")]


def test_the_check_tells_of_overlays_which_are_never_read(tmp_path):
    site = SmallSite(tmp_path)
    site.write()

    def overlay(run: pydicom.Dataset) -> None:
        run.add_new(0x60000010, "US", 48)
        run.add_new(0x60003000, "OW", bytes(400))

    _change(site, 1, overlay)
    ((row, _found),) = _told(site)
    assert row == 3


def test_the_check_tells_of_text_in_the_pixels(tmp_path):
    site = SmallSite(tmp_path)
    still = with_text(angiogram(), TOP_LEFT)

    def draw(run: pydicom.Dataset) -> None:
        run.Rows = run.Columns = SIDE
        run.NumberOfFrames = FRAMES
        run.PixelData = still.tobytes()

    _change(site, 2, draw)
    site.write()
    told = [(row, found) for row, found in _told(site, decode=True) if "burned-in text" in found]
    assert [row for row, _ in told] == [4]
