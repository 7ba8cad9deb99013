"""What clinical names of vessels mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.intake.vessel_name import disagreement, named_segments, named_vessels
from sam3_angio.phantom.site import VESSEL_NAMES


@pytest.mark.parametrize("cass", analysed_segments())
def test_a_segments_own_names_name_it(cass: int) -> None:
    own = (segments()[cass].name, segments()[cass].phrase, VESSEL_NAMES[cass])
    for name in own:
        assert named_segments(f"{name} FINAL") <= named_vessels(name)
        assert disagreement(name, cass) is None
        assert cass in named_segments(name), name


@pytest.mark.parametrize("cass", analysed_segments())
def test_no_name_of_the_other_artery_passes(cass: int) -> None:
    for other in analysed_segments():
        if segments()[other].artery != segments()[cass].artery:
            assert disagreement(VESSEL_NAMES[other], cass) == "error"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MID RCA FINAL", {2}),
        ("Mid-LAD_pre", {13}),
        ("LAD", {12, 13, 14}),
        ("MID LCX", {19}),
        ("distal Cx post", {19}),
        ("CIRCUMFLEX OSTIAL", {18, 19, 23}),
        ("FIRST DIAGONAL", {15}),
        ("2nd diag", {16}),
        ("DIAGONAL", {15, 16, 29}),
        ("OM 2 BASELINE", {21}),
        ("First obtuse marginal", {20}),
        ("PROX D1", {15}),
        ("LAD/D1", {12, 13, 14, 15}),
        ("Left main", {11}),
        ("LEFT ANTERIOR DESCENDING, PROXIMAL", {12}),
        ("RI", {28}),
        ("PDA", {4, 27}),
        ("VESSEL 3", set()),
        ("", set()),
        ("STENT", set()),
    ],
)
def test_names_mean_what_a_cardiologist_reads(name: str, expected: set[int]) -> None:
    assert named_segments(name) == expected


@given(st.text())
def test_any_text_has_a_meaning_or_none(name: str) -> None:
    assert named_segments(name) <= named_vessels(name) <= frozenset(range(1, 30))
