"""The model of each profile, built without memory."""

from __future__ import annotations

import shutil
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.training import _FROZEN_BY  # noqa: E402
from sam3_angio.profiles import apply_profile, profile_names  # noqa: E402

ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "profiles"

#: Parameters of the model, and those that are trained in Phase 2.
EXPECTED = {
    "phantom-cpu": (4_567_066, 3_698_298),
    "phantom-cpu-long": (4_567_066, 3_698_298),
    "rtx3090x2": (840_509_750, 487_047_478),
    "single-24gb": (840_509_750, 33_007_670),
    # Additions of rank 16 to 32 layers of 1024 to 3072 and 32 of 1024 to 1024.
    "lora-16gb": (843_655_478, 36_153_398),
    "h100": (840_509_750, 487_047_478),
}


def test_no_profile_is_left_out():
    assert set(EXPECTED) == set(profile_names(PROFILES))


@cache
def counts(
    size: str, resolution_px: int, frozen: tuple[str, ...], sparing: build.Sparing
) -> tuple[int, int]:
    """Return how many parameters a model has, and how many of them are trained."""
    with build.NoMemory():
        weights = list(build.build(size, resolution_px, frozen, sparing=sparing).parameters())
    assert all(weight.is_meta for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return sum(weight.numel() for weight in weights), trained


@pytest.mark.parametrize("name", EXPECTED)
def test_a_profile_s_model_has_its_number_of_parameters(name, tmp_path):
    params = Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))
    apply_profile(name, params, PROFILES, dry_run=False)
    config = load_config(params)
    phase = config.train_phase2.model_dump()
    frozen = tuple(part for key, part in _FROZEN_BY.items() if phase[key])
    sparing = build.Sparing(
        **{field.name: getattr(config.train, field.name) for field in fields(build.Sparing)}
    )
    model = config.model
    assert counts(model.size, model.resolution, frozen, sparing) == EXPECTED[name]
