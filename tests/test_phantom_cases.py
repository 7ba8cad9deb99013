"""Cases of the phantom: what a catheterisation laboratory would have analysed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.phantom.beat import best_frames
from sam3_angio.phantom.cases import GAP_SHARES, SEGMENT_WEIGHTS, SYNTAX_SHARES, plan_patient
from sam3_angio.phantom.identity import (
    invented_identity,
    patient_id,
    planted_dates,
    planted_names,
)
from sam3_angio.phantom.site import VESSEL_NAMES
from sam3_angio.phantom.views import analysable
from sam3_angio.phantom.xa_file import JPEG_LOSSLESS, TRANSFER_SYNTAXES


@pytest.fixture(scope="module")
def cases():
    return [plan_patient(3, number) for number in range(1, 9)]


def test_a_patient_is_planned_the_same_every_time(cases):
    again = plan_patient(3, 5)
    assert again.runs == cases[4].runs


def test_another_seed_plans_another_patient(cases):
    assert plan_patient(4, 5).runs != cases[4].runs


def test_every_patient_has_a_run_and_every_run_a_row(cases):
    assert all(case.runs for case in cases)
    assert all(1 <= len(run.rows) <= 2 for case in cases for run in case.runs)


def test_file_names_are_unique_within_a_phase(cases):
    for case in cases:
        names = [(run.phase, run.name) for run in case.runs]
        rows = [(run.phase, row) for run in case.runs for row in run.rows]
        assert len(set(names)) == len(names)
        assert len(set(rows)) == len(rows)


def test_rows_belong_to_the_injected_artery_and_to_fit_frames(cases):
    for run in (run for case in cases for run in case.runs):
        for row in run.rows:
            assert segments()[row.cass].artery == run.artery
            assert row.frame_index in best_frames(run.frames, run.seed)
            assert row.frame_index > 0
            assert row.vessel_pattern.startswith(VESSEL_NAMES[row.cass])


def test_results_follow_treatment_and_show_less_stenosis(cases):
    finals = 0
    for case in cases:
        phases = [run.phase for run in case.runs]
        assert phases == sorted(phases)  # baseline before final
        for run in case.runs:
            if run.phase == "INDEX FINAL":
                cass = run.rows[0].cass
                before = max(plan.stenosis_pct for plan in case.before.lesions if plan.cass == cass)
                after = max(plan.stenosis_pct for plan in case.after.lesions if plan.cass == cass)
                assert before >= 50
                assert after <= 15
                finals += 1
    assert finals > 0


def test_a_result_is_filmed_from_nearly_the_view_of_its_baseline(cases):
    for case in cases:
        first = {run.name.split(" PRE")[0]: run for run in reversed(case.runs) if "PRE" in run.name}
        for run in case.runs:
            if run.phase == "INDEX FINAL":
                baseline = first[run.name.removesuffix(" FINAL")].geometry.view
                assert abs(run.geometry.view.primary_deg - baseline.primary_deg) <= 2.1
                assert abs(run.geometry.view.secondary_deg - baseline.secondary_deg) <= 2.1


def test_runs_have_about_ten_frames(cases):
    frames = [run.frames for case in cases for run in case.runs]
    assert set(frames) == {9, 10, 11}
    assert sum(frames) / len(frames) == pytest.approx(10, abs=0.6)


def test_three_of_twenty_patients_are_filmed_with_large_pictures():
    sizes = [plan_patient(1, number).runs[0].geometry.size_px for number in range(1, 21)]
    assert sizes.count(1024) == 3
    assert sizes.count(512) == 17


def test_large_pictures_have_twelve_bits_and_small_ones_eight(cases):
    for run in (run for case in cases for run in case.runs):
        assert run.bits == {512: 8, 1024: 12}[run.geometry.size_px]


def test_blades_leave_the_analysed_segment_free(cases):
    for case in cases:
        for run in case.runs:
            heart = case.after if run.phase == "INDEX FINAL" else case.before
            blades = run.geometry
            alone = dict(analysable(heart, run.artery, replace(blades, collimated=None)))
            cass = run.rows[0].cass
            assert dict(analysable(heart, run.artery, blades))[cass] == alone[cass]


def test_most_runs_are_collimated_but_not_to_a_slit(cases):
    fields = [run.geometry.field for case in cases for run in case.runs]
    sizes = [run.geometry.size_px for case in cases for run in case.runs]
    for field, size in zip(fields, sizes, strict=True):
        assert 0 <= field.left_px <= 0.23 * size
        assert 0 <= field.top_px <= 0.23 * size
        assert 0.77 * size <= field.right_px <= size
        assert 0.77 * size <= field.bottom_px <= size
    assert sum(run.geometry.collimated is not None for case in cases for run in case.runs) > 0.8 * (
        len(fields)
    )


def test_some_analysed_segments_have_no_lesion(cases):
    healthy = [
        run
        for case in cases
        for run in case.runs
        if run.rows[0].cass not in {plan.cass for plan in case.before.lesions}
    ]
    assert healthy


def test_views_are_in_tenths_of_a_degree_as_header_and_table_write_them(cases):
    for run in (run for case in cases for run in case.runs):
        view = run.geometry.view
        assert view.primary_deg == round(view.primary_deg, 1)
        assert view.secondary_deg == round(view.secondary_deg, 1)


def test_the_tables_of_shares_cover_what_they_choose_from():
    assert set(SEGMENT_WEIGHTS) == set(analysed_segments()) == set(VESSEL_NAMES)
    for shares in SYNTAX_SHARES.values():
        assert set(shares) == set(TRANSFER_SYNTAXES)
        assert sum(shares.values()) == pytest.approx(1)
    assert max(SYNTAX_SHARES[8].values()) == SYNTAX_SHARES[8][JPEG_LOSSLESS] > 0.5
    assert all(0 < share < 0.5 for share in GAP_SHARES.values())


def test_invented_people_are_listed_as_planted():
    names, dates = planted_names(3, 12), planted_dates(3, 12)
    for number in range(1, 13):
        person = invented_identity(3, number, "M")
        assert {person.name, person.hospital_id, person.physician} <= set(names)
        assert patient_id(number) in names
        assert f"101-{number:04d}" in names
        assert person.birth.strftime("%Y%m%d") in dates
        assert 30 < (person.examined - person.birth).days / 365.25 < 95


def test_names_fit_into_latin_1_and_differ_between_seeds():
    names = planted_names(3, 30)
    assert all(name.encode("latin-1") for name in names)
    assert not set(planted_dates(3, 5)) & set(planted_dates(4, 5))
