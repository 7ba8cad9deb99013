"""Features of a frozen transformer, computed once a picture: the same answers, less work."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.remembered import RememberedFeatures, remember  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402

SMALL = replace(build.TINY, resolution_px=64)


def _pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class _Counted:
    """Two feature maps of a picture, and how many pictures were looked at."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        self.pictures += len(pictures)
        return [pictures.mean(1, keepdim=True), pictures[:, :2, ::2, ::2] + 1]


def _bytes_of_one() -> int:
    return 4 * (8 * 8 + 2 * 4 * 4)


def test_features_are_those_of_the_transformer_in_any_order():
    transformer = _Counted()
    features = RememberedFeatures(transformer, 10**6)
    pictures = _pictures(4)
    features(pictures[:3])
    order = [3, 1, 0, 1]
    found = features(pictures[order])
    for level, expected in zip(found, _Counted()(pictures[order]), strict=True):
        assert torch.equal(level, expected)
    assert transformer.pictures == 4


def test_a_picture_that_differs_in_one_value_is_another_one():
    transformer = _Counted()
    features = RememberedFeatures(transformer, 10**6)
    picture = _pictures(1)
    features(picture)
    picture[0, 2, 7, 7] += 1e-6
    assert torch.equal(features(picture)[0], _Counted()(picture)[0])
    assert transformer.pictures == 2


def test_no_more_is_kept_than_allowed():
    transformer = _Counted()
    features = RememberedFeatures(transformer, 2 * _bytes_of_one() + 1)
    pictures = _pictures(3)
    for _ in range(2):
        found = features(pictures)
        assert torch.equal(found[1], _Counted()(pictures)[1])
    assert transformer.pictures == 3 + 1


def test_what_was_kept_is_not_changed_by_those_who_use_it():
    features = RememberedFeatures(_Counted(), 10**6)
    pictures = _pictures(2)
    for _ in range(2):
        found = features(pictures)
        assert torch.equal(found[1], _Counted()(pictures)[1])
        found[1].zero_()


def test_a_frozen_backbone_gives_the_same_features_and_keeps_its_names():
    prepare(threads=1)
    torch.manual_seed(0)
    model = build.frozen(build.build_model(SMALL), ["backbone.vision_backbone"])
    names = list(model.state_dict())
    pictures = torch.rand(2, 3, 64, 64)
    expected = model.backbone.forward_image(pictures)["backbone_fpn"]
    remember(model.backbone.vision_backbone.trunk, 100)
    for _ in range(2):
        found = model.backbone.forward_image(pictures)["backbone_fpn"]
        for level, wanted in zip(found, expected, strict=True):
            assert torch.allclose(level, wanted, atol=1e-6)
    assert list(model.state_dict()) == names


def test_nothing_is_remembered_without_memory():
    model = build.build_model(SMALL)
    forward = model.backbone.vision_backbone.trunk.forward
    remember(model.backbone.vision_backbone.trunk, 0)
    assert model.backbone.vision_backbone.trunk.forward == forward
