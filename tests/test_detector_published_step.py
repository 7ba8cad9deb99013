"""A step of the published model, and of a shallow one with its detector."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from hydra.utils import instantiate  # noqa: E402
from sam3.train.data.collator import collate_fn_api  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.drawn import DrawnScenes  # noqa: E402
from sam3_angio.detector.pretraining import lesson_recipe  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402
from sam3_angio.detector.targets import give_shape  # noqa: E402


def step_of(spec: build.ModelSpec) -> dict[str, bool]:
    """Train a model one step; return of each weight that has a gradient whether it changed."""
    prepare(threads=2)
    torch.manual_seed(0)
    model = build.build_model(spec).train()
    build.ready_to_train(model, ["backbone.language_backbone.encoder"], 0, None)
    settings = lesson_recipe(0, None).trainer.loss.angio
    settings.loss_fns_find[1].pad_n_queries = spec.queries
    loss = instantiate(settings, normalization="local")  # there is one worker
    scenes = DrawnScenes(
        first=5,
        scenes=1,
        side_px=spec.resolution_px,
        positives=1,
        negatives=1,
        words="all",
        fresh=False,
    )
    batch = collate_fn_api([scenes[0]], dict_key="angio", with_seg_masks=True)["angio"]
    give_shape(batch)
    targets = [model.back_convert(target) for target in batch.find_targets]
    value = loss(model(batch), targets)["core_loss"]
    assert torch.isfinite(value)
    value.backward()
    rate, changed = 1e-3, {}
    # Plain descent, a weight at a time: memory for the model and its gradients is enough.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                before = float(weight.abs().sum())
                weight.sub_(weight.grad, alpha=rate)
                changed[name] = bool(torch.isfinite(weight).all()) and (
                    float(weight.abs().sum()) != before
                )
                weight.grad = None
    return changed


#: The published model at a third of its resolution: windows of 24 cells are the whole grid.
LOW = replace(build.PUBLISHED, resolution_px=336)


def assert_trained(changed):
    for part in ("backbone.vision_backbone.trunk", "transformer.decoder", "segmentation_head"):
        assert any(moved for name, moved in changed.items() if name.startswith(part)), part
    assert not any(name.startswith("backbone.language_backbone.encoder") for name in changed)


@pytest.mark.slow
def test_a_shallow_model_with_the_published_detector_trains_a_step():
    shallow = {"vision_depth": 2, "global_blocks": (1,), "text_depth": 1}
    small = {"vision_width": 64, "vision_heads": 2, "text_width": 64, "text_heads": 2}
    assert_trained(step_of(replace(LOW, **shallow, **small, encoder_layers=1, decoder_layers=2)))


@pytest.mark.slow
def test_the_published_model_trains_a_step_on_the_cpu():
    assert_trained(step_of(LOW))
