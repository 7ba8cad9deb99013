"""A window, table or rescaling that hides much of the picture is told; others are not."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from small_site import SmallSite
from xa_files import pictures, write_run

from sam3_angio.checking.data_set import check_site
from sam3_angio.dicom import read_frame
from sam3_angio.dicom.picture import DISPLAY_FIELD, PictureSettings, display_doubt

SETTINGS = PictureSettings(percentile_low=0.5, percentile_high=99.5)
GOOD = {"WindowCenter": "140", "WindowWidth": "200"}
RUINOUS = {
    "a thirteenth of the width": {"WindowWidth": "15"},
    "ten times the width": {"WindowWidth": "2000"},
    "centre zero": {"WindowCenter": "0"},
    "centre half": {"WindowCenter": "60"},
    "slope": {"RescaleSlope": "2", "RescaleIntercept": "0"},
    "intercept": {"RescaleSlope": "1", "RescaleIntercept": "-92"},
}


def _doubt(tmp_path, run, **changes):
    path = write_run(tmp_path / "run.dcm", run, 8, **changes)
    return display_doubt(read_frame(path, 1, name="run"), SETTINGS)


@pytest.mark.parametrize("changes", RUINOUS.values(), ids=RUINOUS)
def test_a_display_that_ruins_the_picture_is_doubted(tmp_path, changes):
    assert _doubt(tmp_path, pictures(), **(GOOD | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"WindowWidth": "400"},
        {"VOILUTFunction": "SIGMOID"},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": None, "WindowWidth": None, "RescaleIntercept": "-92", "RescaleSlope": "1"},
    ],
)
def test_a_usual_display_is_not(tmp_path, changes):
    given = {name: value for name, value in (GOOD | changes).items() if value is not None}
    assert not _doubt(tmp_path, pictures(), **given)


def test_blank_borders_and_a_saturated_detector_are_no_fault_of_the_display(tmp_path):
    run = pictures()
    run[:, :, :50] = 0
    run[:, 80:] = 255
    assert not _doubt(tmp_path, run, **GOOD)


def test_the_check_tells_of_it(tmp_path):
    site = SmallSite(tmp_path)
    path = site.file(1, "dicom_path")
    run = pydicom.dcmread(path)
    values = run.pixel_array
    run.WindowCenter, run.WindowWidth = 0, max(int(np.ptp(values)) // 10, 12)
    run.save_as(path)
    site.write()
    found = check_site(
        site.table, dicom_root=site.angios, primary_sign="RAO+", path_maps=site.maps, processes=1
    )
    told = [one for one in found.findings if DISPLAY_FIELD in one.found]
    assert [one.severity for one in told] == ["warning"]
    assert "black or white" in told[0].found
