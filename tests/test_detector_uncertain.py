"""Losses of phrases of which it is not certain whether the frame shows them."""

from __future__ import annotations

import math

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import write_segments  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from sam3.train.data.collator import collate_fn_api  # noqa: E402
from test_detector_segments import prepared, training_questions  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.pretraining import lesson_recipe  # noqa: E402
from sam3_angio.detector.runtime import prepare as prepare_runtime  # noqa: E402
from sam3_angio.detector.uncertain import PhraseLoss, SemanticLoss  # noqa: E402
from sam3_angio.rivals import WithRivals  # noqa: E402


@pytest.fixture(autouse=True)
def _runtime():
    prepare_runtime(threads=1)


WEIGHTS = {"loss_semantic_seg": 1, "loss_semantic_dice": 1, "loss_rival": 1}


def semantic_loss():
    return SemanticLoss(
        weight_dict=WEIGHTS,
        presence_head=True,
        presence_loss=False,
        focal=True,
        downsample=False,
    )


def phrase_loss(doubt):
    return PhraseLoss(
        doubt=doubt,
        pos_weight=10.0,
        weak_loss=False,
        use_presence=True,
        gamma=2,
        weight_dict={"loss_ce": 1, "presence_loss": 1},
    )


def presence(logits, shown, certain, doubt):
    """Return the presence's loss and accuracy of queries without any box."""
    count = len(logits)
    outputs = {
        "pred_logits": torch.zeros(count, 4, 1),
        "pred_boxes_xyxy": torch.zeros(count, 4, 4),
        "presence_logit_dec": torch.tensor(logits)[:, None],
    }
    targets = {
        "boxes_xyxy": torch.zeros(0, 4),
        "num_boxes": torch.tensor(shown),
        "is_exhaustive": torch.tensor(certain),
        "object_ids_padded": torch.where(torch.tensor(shown)[:, None] > 0, 0, -1),
        "boxes_padded": torch.full((count, 1, 4), 0.5),
    }
    none = torch.zeros(0, dtype=torch.long)
    losses = phrase_loss(doubt).get_loss(outputs, targets, (none, none, none), 1)
    return float(losses["presence_loss"]), float(losses["presence_dec_acc"])


def test_an_uncertain_absence_counts_by_its_weight_alone():
    # Cross-entropies at logits 2, -1 and 1: shown, absent, rival; each by one half.
    shown, absent, rival = math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.e)
    for doubt in (0.0, 0.3, 1.0):
        loss, right = presence([2.0, -1.0, 1.0], [1, 0, 0], [True, True, False], doubt)
        assert loss == pytest.approx((shown + absent + doubt * rival) / 6, rel=1e-5)
        assert right == 1.0


def test_without_uncertain_phrases_the_presence_is_the_stock_models():
    loss, right = presence([2.0, -1.0, 1.0], [1, 0, 0], [True, True, True], 0.3)
    shown, absent, third = math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.e)
    assert loss == pytest.approx((shown + absent + third) / 6, rel=1e-5)
    assert right == pytest.approx(2 / 3)


def semantic(certain, logits):
    """Return the losses of two queries of a picture whose label is its left half."""
    label = torch.zeros(2, 4, 4, dtype=torch.bool)
    label[:, :, :2] = True
    out = {"semantic_seg": logits, "presence_logit": None}
    targets = {
        "semantic_masks": label,
        "is_exhaustive": torch.tensor(certain),
        "masks": label[:1],
        "num_boxes": torch.tensor([1, 0]),
    }
    return semantic_loss().get_loss(out, targets)


def test_a_rival_pays_for_what_it_claims_of_the_label_and_nothing_else():
    logits = torch.zeros(2, 1, 4, 4)
    logits[1, 0, :, 2:] = 9.0  # beside the label: free
    logits.requires_grad_()
    losses = semantic([True, False], logits)
    assert float(losses["loss_rival"]) == pytest.approx(math.log(2))  # p is one half there
    losses["loss_rival"].backward()
    assert float(logits.grad[0].abs().max()) == 0
    assert float(logits.grad[1, 0, :, 2:].abs().max()) == 0
    assert bool((logits.grad[1, 0, :, :2] > 0).all())


def test_the_certain_phrases_have_the_losses_that_they_have_alone():
    logits = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    both = semantic([True, False], logits)
    alone = semantic_loss().get_loss(
        {"semantic_seg": logits[:1], "presence_logit": None},
        {
            "semantic_masks": None,
            "is_exhaustive": torch.tensor([True]),
            "masks": torch.tensor([[[1, 1, 0, 0]] * 4], dtype=torch.bool),
            "num_boxes": torch.tensor([1]),
        },
    )
    for name in ("loss_semantic_seg", "loss_semantic_dice"):
        assert float(both[name]) == pytest.approx(float(alone[name]), rel=1e-5)
    assert float(alone["loss_rival"]) == 0


@pytest.mark.parametrize("shown", [[True, False, True], [False, False, False]])
def test_queries_that_show_nothing_are_left_out_at_no_change_of_loss_and_gradient(shown):
    random = torch.Generator().manual_seed(1)
    start = torch.randn(3, 1, 4, 4, generator=random)
    marks = torch.tensor([[[1, 1, 0, 0]] * 8] * 3).repeat(1, 1, 2).bool()
    marks &= torch.tensor(shown)[:, None, None]
    targets = {"semantic_masks": marks, "is_exhaustive": torch.ones(3, dtype=torch.bool)}
    found = []
    for get_loss in (semantic_loss().get_loss, super(SemanticLoss, semantic_loss()).get_loss):
        logits = start.clone().requires_grad_()
        losses = get_loss({"semantic_seg": logits, "presence_logit": None}, targets)
        total = losses["loss_semantic_seg"] + losses["loss_semantic_dice"]
        total.backward()
        found.append((total.detach(), logits.grad))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])


@pytest.fixture
def sample(tmp_path):
    dataset = write_segments(tmp_path)
    questions = WithRivals(
        questions=training_questions(policy="other_artery", per_image=1),
        asked="analysed",
        document_path=str(dataset / "train" / "segments" / "annotations.json"),
        per_image=1,
        seed=0,
    )
    return prepared(dataset, questions, tmp_path / "store")[0]


def test_a_query_s_semantic_target_is_its_mask_and_a_rivals_the_label(sample):
    label, absent, strange, rival = sample.find_queries
    mask = sample.images[0].objects[0].segment.bool()
    assert torch.equal(label.semantic_target, mask)
    assert not absent.semantic_target.any()
    assert not strange.semantic_target.any()
    assert torch.equal(rival.semantic_target, mask)
    assert [query.is_exhaustive for query in sample.find_queries] == [True, True, True, False]
    assert rival.object_ids_output == []


def claims_of_steps(sample, weight):
    """Return what a rival claims in each of three steps."""
    torch.manual_seed(0)
    model = build.build("tiny", 64).train()
    settings = lesson_recipe(0, None).trainer.loss.angio
    settings.loss_fn_semantic_seg.weight_dict.loss_rival = weight
    loss = instantiate(settings, normalization="local")  # there is one worker
    batch = collate_fn_api([sample], dict_key="angio", with_seg_masks=True)["angio"]
    optimiser = torch.optim.SGD(model.segmentation_head.parameters(), lr=1e-3)
    claims = []
    for _ in range(3):
        losses = loss(model(batch), [model.back_convert(t) for t in batch.find_targets])
        optimiser.zero_grad()
        losses["core_loss"].backward()
        optimiser.step()
        claims.append(losses["loss_rival"].item())
    return claims


def test_steps_lower_what_a_rival_claims_by_its_own_loss(sample):
    claims, without = (claims_of_steps(sample, weight) for weight in (10.0, 0.0))
    assert claims[0] == pytest.approx(without[0])
    assert claims[2] < claims[1] < claims[0]
    assert claims[2] < without[2]
