"""The data's profile for programs: counts and spreads, derived by hand."""

import math

from sam3_angio.acquisition import PixelSpacing, ViewAngle
from sam3_angio.geometry_table import FrameGeometry, write_geometry
from sam3_angio.report.composition import CountTable
from sam3_angio.report.data_profile import data_profile, summarise
from sam3_angio.table import write_table

SCALED = PixelSpacing(row_mm=0.25, column_mm=0.25, source="calibration")
UNSCALED = PixelSpacing(row_mm=math.nan, column_mm=math.nan, source="none")


def frame(number, *, spacing=SCALED, primary_deg=0.0, frames=40):
    return FrameGeometry(
        frame_id=f"p{number:010x}-{number:08x}",
        patient=f"p{number:010x}",
        rows=512,
        columns=512,
        frame_index=0,
        frames=frames,
        view=ViewAngle(primary_deg=primary_deg, secondary_deg=-20.0),
        angle_source="header",
        spacing=spacing,
        transfer_syntax="1.2.840.10008.1.2.4.70",
        bits_stored=8,
        display="window",
    )


def test_quantities_are_summarised_by_partition(tmp_path):
    rows = [
        frame(1, primary_deg=-30, frames=50),
        frame(2, primary_deg=10, frames=60),
        frame(3, spacing=UNSCALED, primary_deg=20, frames=90),
        frame(4, primary_deg=5),
    ]
    write_geometry(tmp_path / "frames" / "geometry.csv", rows)
    splits = ("train", "train", "train", "val")
    write_table(
        tmp_path / "dataset" / "split.csv",
        ("frame_id", "patient", "artery", "split"),
        [(row.frame_id, row.patient, "LCA", s) for row, s in zip(rows, splits, strict=True)],
    )
    tables = (CountTable(title="Artery", rows=(("LCA", (3, 1)),)),)
    profile = data_profile(tables, tmp_path / "dataset", tmp_path / "frames")
    assert profile["count"] == {"Artery": {"LCA": {"train": 3, "val": 1}}}
    train = {name: of["train"] for name, of in profile["quantity"].items()}
    assert train["primary_deg"] == {"min": -30, "median": 10, "max": 20, "n": 3, "unknown": 0}
    assert train["frames_in_run"]["median"] == 60
    spacing = train["spacing_mm"]
    assert (spacing["n"], spacing["unknown"], spacing["median"]) == (2, 1, 0.25)
    assert profile["quantity"]["secondary_deg"]["val"]["max"] == -20


def test_a_summary_of_nothing_is_null():
    assert summarise([math.nan]) == {
        "min": None, "median": None, "max": None, "n": 0, "unknown": 1,
    }  # fmt: skip
