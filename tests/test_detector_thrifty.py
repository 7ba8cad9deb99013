"""Masks only where something can be learnt: the same losses and gradients as the stock model."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from hydra.utils import instantiate  # noqa: E402
from sam3.model.sam3_image import Sam3Image  # noqa: E402
from sam3.train.data.collator import collate_fn_api  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.drawn import DrawnScenes  # noqa: E402
from sam3_angio.detector.pretraining import lesson_recipe  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402
from sam3_angio.detector.targets import give_shape  # noqa: E402
from sam3_angio.detector.thrifty import ThriftySam3Image  # noqa: E402

SMALL = replace(build.TINY, resolution_px=128)


def _batch(positives: int, negatives: int):
    scenes = DrawnScenes(
        first=5,
        scenes=2,
        side_px=128,
        positives=positives,
        negatives=negatives,
        words="all",
        fresh=False,
    )
    samples = [scenes[place] for place in range(2)]
    batch = collate_fn_api(samples, dict_key="all", with_seg_masks=True)["all"]
    give_shape(batch)
    return batch


def _made_by(kind: type[Sam3Image], positives: int, negatives: int):
    """Return losses, gradients and how many queries the mask head saw."""
    prepare(threads=1)
    torch.manual_seed(0)
    model = build.build_model(SMALL, kind).train()
    seen = []
    model.segmentation_head.pixel_decoder.register_forward_hook(
        lambda module, inputs, output: seen.append(len(output))
    )
    settings = lesson_recipe(0, None).trainer.loss.angio
    loss = instantiate(settings, normalization="local")  # there is one worker
    batch = _batch(positives, negatives)
    out = model(batch)
    torch.manual_seed(1)  # the mask loss draws its points
    losses = loss(out, [model.back_convert(target) for target in batch.find_targets])
    losses["core_loss"].backward()
    gradients = {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }
    return losses, gradients, seen


@pytest.mark.parametrize(("positives", "negatives"), [(1, 2), (2, 0), (0, 2)])
def test_losses_and_gradients_are_those_of_the_stock_model(positives: int, negatives: int):
    losses, gradients, seen = _made_by(ThriftySam3Image, positives, negatives)
    expected_losses, expected, all_seen = _made_by(Sam3Image, positives, negatives)
    assert all_seen == [2 * (positives + negatives)]
    assert seen == [2 * positives or 1]
    for name, value in expected_losses.items():
        if name != "miou_semantic_seg":  # a figure for people; it counts empty masks too
            assert float(losses[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-7)
    for name, gradient in expected.items():
        found = gradients.get(name, torch.zeros_like(gradient))
        scale = float(gradient.abs().max())
        assert torch.allclose(found, gradient, atol=1e-4 * scale + 1e-7), name


def test_in_evaluation_every_query_gets_its_masks():
    torch.manual_seed(0)
    prepare(threads=1)
    stock = build.build_model(SMALL, Sam3Image).eval()
    thrifty = build.build_model(SMALL, ThriftySam3Image).eval()
    thrifty.load_state_dict(stock.state_dict())
    batch = _batch(1, 2)
    with torch.no_grad():
        expected, found = stock(batch)[0], thrifty(batch)[0]
    for name in ("pred_masks", "semantic_seg", "presence_logit_dec"):
        assert torch.equal(expected[name], found[name])
