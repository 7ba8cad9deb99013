"""Eight bits: by hand, and against pydicom's own modality and VOI transformations."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from xa_files import pictures, write_run

from sam3_angio.dicom import read_frame
from sam3_angio.dicom.display import display_8bit, display_kind


def _lut(first, bits, entries):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = np.asarray(entries, dtype="<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


def _frame(tmp_path, run=None, bits=12, **changes):
    path = write_run(
        tmp_path / "run.dcm", pictures(bits=bits) if run is None else run, bits, **changes
    )
    return read_frame(path, 1, name="run"), pydicom.dcmread(path)


def _by_pydicom(dataset, top):
    """Return pydicom's grey levels of frame 1, brought from 0 … `top` to eight bits."""
    stored = dataset.pixel_array[1]
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    return np.rint(np.asarray(values, dtype=float) / top * 255)


WINDOWS = {
    "linear": {"WindowCenter": "2048", "WindowWidth": "3000"},
    "linear by name": {
        "WindowCenter": "2048",
        "WindowWidth": "3000",
        "VOILUTFunction": "LINEAR",
    },
    "exact": {"WindowCenter": "1500.5", "WindowWidth": "900.5", "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": "2048", "WindowWidth": "1200", "VOILUTFunction": "SIGMOID"},
    "several": {"WindowCenter": ["1800", "100"], "WindowWidth": ["2500", "5"]},
    "narrow": {"WindowCenter": "2500", "WindowWidth": "1"},
}


@pytest.mark.parametrize("changes", WINDOWS.values(), ids=WINDOWS)
def test_a_window_gives_pydicoms_grey_levels(tmp_path, changes):
    frame, dataset = _frame(tmp_path, **changes)
    assert display_kind(frame.header.display) == "window"
    expected = _by_pydicom(dataset, 4095)
    assert np.abs(display_8bit(frame, 0.5, 99.5) - expected).max() <= 0.5


def test_a_voi_table_gives_pydicoms_grey_levels_and_goes_before_a_window(tmp_path):
    entries = (np.linspace(0, 1, 3000) ** 0.5 * 1023).astype(int)
    frame, dataset = _frame(
        tmp_path, VOILUTSequence=_lut(500, 10, entries), WindowCenter="100", WindowWidth="10"
    )
    assert display_kind(frame.header.display) == "voi_lut"
    assert np.array_equal(display_8bit(frame, 0.5, 99.5), _by_pydicom(dataset, 1023))


@pytest.mark.parametrize("relationship", ["LOG", "DISP", "LIN", None])
def test_a_modality_table_is_not_for_display(tmp_path, relationship):
    """It leads back to X-ray intensity; the window counts from stored values (C.8.7.1.1.2)."""
    display = {"WindowCenter": "2048", "WindowWidth": "4096"}
    changes = {"PixelIntensityRelationship": relationship, **display}
    table = _lut(0, 12, np.arange(4095, -1, -1))
    with_table, _ = _frame(tmp_path, ModalityLUTSequence=table, **changes)
    without, _ = _frame(tmp_path, **changes)
    expected = np.rint(with_table.pixels / 4095 * 255)
    assert np.abs(display_8bit(with_table, 0.5, 99.5) - expected).max() <= 1
    assert np.array_equal(display_8bit(with_table, 0.5, 99.5), display_8bit(without, 0.5, 99.5))


def test_rescaled_values_are_windowed(tmp_path):
    frame, dataset = _frame(
        tmp_path,
        RescaleSlope="2",
        RescaleIntercept="-1000",
        RescaleType="US",
        WindowCenter="3000",
        WindowWidth="5000",
    )
    values = apply_modality_lut(dataset.pixel_array[1], dataset)
    expected = np.rint(np.clip((values - 2999.5) / 4999 + 0.5, 0, 1) * 255)
    assert np.array_equal(display_8bit(frame, 0.5, 99.5), expected)


def test_monochrome1_is_inverted_after_the_window(tmp_path):
    window = {"WindowCenter": "2048", "WindowWidth": "3000"}
    plain, _ = _frame(tmp_path, **window)
    inverted, _ = _frame(tmp_path, PhotometricInterpretation="MONOCHROME1", **window)
    assert np.array_equal(display_8bit(inverted, 0, 100), 255 - display_8bit(plain, 0, 100))


def test_without_display_information_the_percentiles_become_black_and_white(tmp_path):
    values = np.arange(96 * 128, dtype=np.uint16).reshape(1, 96, 128) // 4
    run = np.concatenate([values, values + 3, values + 7])
    frame, _ = _frame(tmp_path, run)
    assert display_kind(frame.header.display) == "percentile"
    picture = display_8bit(frame, 10, 90)
    low, high = np.percentile(frame.pixels, [10, 90])
    expected = np.rint(np.clip((frame.pixels - low) / (high - low), 0, 1) * 255)
    assert np.abs(picture - expected).max() <= 1
    assert (picture.min(), picture.max()) == (0, 255)


def test_the_first_values_of_a_window_are_those_of_the_standard(tmp_path):
    """PS3.3 C.11.2.1.2, example of a full-range window of eight bits: the identity."""
    frame, _ = _frame(tmp_path, bits=8, WindowCenter="128", WindowWidth="256")
    assert np.array_equal(display_8bit(frame, 0.5, 99.5), frame.pixels)
