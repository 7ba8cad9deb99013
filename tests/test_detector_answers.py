"""How an answer's logits become a mask of the frame's size."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from sam3_angio.detector.predict import dice, enlarge  # noqa: E402


def test_a_constant_stays_what_it_is():
    assert torch.allclose(enlarge(torch.full((8, 8), -1.5), (20, 30)), torch.full((20, 30), -1.5))


def test_positions_are_those_of_the_cells_centres():
    # A slope over cells of four pixels: pixel i is at (i + 1/2) / 4 - 1/2 cells. The borders, which
    # have no neighbours, are left out.
    slope = torch.arange(8.0).expand(8, 8)
    place = (torch.arange(32.0) + 0.5) / 4 - 0.5
    assert torch.allclose(enlarge(slope, (32, 32))[16, 8:24], place[8:24], atol=0.06)


def test_a_vessel_thinner_than_a_cell_keeps_its_crest():
    # A ring of three pixels' width, of which each cell of four pixels knows its share.
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ring = ((row - 31.5).hypot(column - 31.5) - 22).abs() < 1.5
    shares = functional.avg_pool2d(ring[None, None].float(), 4)
    lines = functional.interpolate(shares - 0.5, scale_factor=4, mode="bilinear")[0, 0] > 0
    assert dice(enlarge(shares[0, 0] - 0.5, (64, 64)) > 0, ring) > dice(lines, ring) + 0.1


def test_a_mirrored_answer_has_the_mirrored_mask():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(
        enlarge(logits.flip(1), (24, 24)), enlarge(logits, (24, 24)).flip(1), atol=1e-5
    )
