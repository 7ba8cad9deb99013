"""Pictures as bytes at the model's door: the same answers as from normalised floats."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3_angio.detector.build import build_model, model_spec  # noqa: E402
from sam3_angio.detector.grey import normalised  # noqa: E402
from sam3_angio.detector.runtime import prepare as prepare_runtime  # noqa: E402


def test_bytes_and_floats_give_the_same_features():
    prepare_runtime(threads=1)
    torch.manual_seed(0)
    trunk = build_model(model_spec("tiny", 64)).backbone.vision_backbone.trunk.eval()
    grey = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        from_bytes = trunk(grey)
        from_floats = trunk(normalised(grey).expand(-1, 3, -1, -1))
    assert all(torch.equal(a, b) for a, b in zip(from_bytes, from_floats, strict=True))


def test_the_whole_range_is_used_and_the_bytes_stay():
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    floats = normalised(grey)
    assert (float(floats.min()), float(floats.max())) == (-1, 1)
    assert torch.equal(((floats + 1) * 127.5).round().to(torch.uint8), grey)
