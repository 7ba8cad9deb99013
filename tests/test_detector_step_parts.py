"""A step in parts: gradients of the whole batch, whatever the parts show."""

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
from sam3_angio.detector.step_parts import (  # noqa: E402
    InParts,
    added_up,
    average_gradients,
    counts_of,
)
from sam3_angio.detector.targets import give_shape  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402

SMALL = replace(build.TINY, resolution_px=128)


def _samples(asked):
    """Return a scene for each pair of how many present and absent things it is asked for."""
    return [
        DrawnScenes(
            first=5 + place,
            scenes=1,
            side_px=128,
            positives=positives,
            negatives=negatives,
            words="all",
            fresh=False,
        )[0]
        for place, (positives, negatives) in enumerate(asked)
    ]


def _collate(samples):
    batch = collate_fn_api(samples, dict_key="angio", with_seg_masks=True)["angio"]
    give_shape(batch)
    return batch


def _gradients(batches, *, told=True):
    prepare(threads=1)
    torch.manual_seed(0)
    model = build.build_model(SMALL).train()
    settings = lesson_recipe(0, None).trainer.loss.angio
    settings.loss_fns_find[2].num_sample_points = None  # all: points are drawn at random
    loss = instantiate(settings, normalization="local")  # there is one worker
    if told:
        counts = [counts_of(part) for part in batches]
        loss.begin_step(counts, added_up(counts), workers=1)
    total = 0.0
    for batch in batches:
        targets = [model.back_convert(target) for target in batch.find_targets]
        value = loss(model(batch), targets)["core_loss"]
        value.backward()
        total += float(value) / len(batches)
    average_gradients(model, len(batches))
    return total, {n: w.grad for n, w in model.named_parameters() if w.grad is not None}


#: Present and absent things of four frames, of which each second one falls to a part.
EVEN = [(1, 1)] * 4
UNEVEN = [(3, 0), (1, 1), (1, 0), (1, 3)]
ONE_PART_EMPTY = [(2, 1), (0, 2), (1, 1), (0, 2)]


@pytest.mark.parametrize("asked", [EVEN, UNEVEN, ONE_PART_EMPTY])
def test_gradients_of_two_parts_are_those_of_the_whole_batch(asked):
    samples = _samples(asked)
    whole, expected = _gradients([_collate(samples)])
    total, found = _gradients(InParts(_collate, 2)(samples))
    assert total == pytest.approx(whole, rel=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        assert torch.allclose(found[name], gradient, atol=2e-3 * scale + 1e-6), name


def test_the_mean_of_the_parts_own_means_would_be_another_gradient():
    samples = _samples(UNEVEN)
    whole, _ = _gradients([_collate(samples)])
    total, _ = _gradients(InParts(_collate, 2)(samples), told=False)
    assert total != pytest.approx(whole, rel=1e-2)


def test_parts_are_equal_and_hold_each_frame_once():
    assert InParts(list, 2)([1, 2, 3, 4]) == [[1, 3], [2, 4]]
    with pytest.raises(ConfigError, match=r"3 frames cannot pass in 2 equal parts: set batch_size"):
        InParts(list, 2)([1, 2, 3])
