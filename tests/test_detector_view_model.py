"""The view reaches the model: through words, numbers or an exemplar, and only through them."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3.model.utils.misc import copy_data_to_device  # noqa: E402
from sam3.train.data.sam3_image_dataset import (  # noqa: E402
    Datapoint,
    FindQueryLoaded,
    Image,
    InferenceMetadata,
    Object,
)

from sam3_angio.acquisition import ViewAngle  # noqa: E402
from sam3_angio.detector.build import build as build_base  # noqa: E402
from sam3_angio.detector.checkpoint import load_weights, save_weights  # noqa: E402
from sam3_angio.detector.predict import answers  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402
from sam3_angio.detector.view_batch import ViewCollator  # noqa: E402
from sam3_angio.detector.view_model import ADDED, build  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402
from sam3_angio.view_prompts import phrase_with_view, spell_view  # noqa: E402
from sam3_angio.view_table import Exemplar, ToldView, ViewTable, write_table  # noqa: E402

SIDE_PX = 64
CARRIERS = ("none", "text", "exemplar", "embedding")
RAO = ViewAngle(primary_deg=-30.0, secondary_deg=20.0)
LAO = ViewAngle(primary_deg=40.0, secondary_deg=-10.0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def without_cuda():
    prepare(threads=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return the folder of two prepared training frames, 11 and 12."""
    root = tmp_path_factory.mktemp("store")
    pictures = np.random.default_rng(0).integers(0, 255, (2, SIDE_PX, SIDE_PX), np.uint8)
    np.save(root / "pictures.npy", pictures)
    np.save(root / "masks.npy", np.zeros((2, SIDE_PX, SIDE_PX // 8), np.uint8))
    np.save(root / "image_ids.npy", np.array([11, 12]))
    np.save(root / "annotation_ids.npy", np.array([111, 112]))
    return root


def asked_in(view: ViewAngle, carrier: str):
    """Return a frame that is asked for two segments, and for something that is none."""
    picture = torch.from_numpy(
        np.random.default_rng(5).uniform(-1, 1, (1, SIDE_PX, SIDE_PX)).astype(np.float32)
    )
    mask = torch.zeros(SIDE_PX, SIDE_PX, dtype=torch.uint8)
    mask[20:30, 10:50] = 1
    target = Object(bbox=torch.tensor([0.47, 0.39, 0.62, 0.16]), area=400.0, segment=mask)
    queries = []
    template = "{phrase}, {view}" if carrier == "text" else "{phrase}"
    for place, (phrase, category) in enumerate([("mid LAD", 13), ("mid RCA", 2), ("rib", 0)]):
        queries.append(
            FindQueryLoaded(
                query_text=phrase_with_view(phrase, spell_view(view, 10), template),
                image_id=0,
                object_ids_output=[0] if place == 0 else [],
                is_exhaustive=True,
                query_processing_order=0,
                inference_metadata=InferenceMetadata(
                    coco_image_id=7,
                    original_image_id=7,
                    original_category_id=category,
                    original_size=(SIDE_PX, SIDE_PX),
                    object_id=0,
                    frame_index=0,
                ),
            )
        )
    image = Image(data=picture.expand(3, -1, -1), objects=[target], size=(SIDE_PX, SIDE_PX))
    return [Datapoint(find_queries=queries, images=[image])]


def collator(view: ViewAngle, store, root):
    """Return a collator that tells a view and, for a real segment, the exemplar that it chooses."""
    told = ToldView(
        image_id=7,
        from_image_id=7,
        primary_deg=view.primary_deg,
        secondary_deg=view.secondary_deg,
    )
    nearest = 11 if view == RAO else 12
    exemplars = tuple(
        Exemplar(
            image_id=7,
            category_id=category,
            from_image_id=nearest,
            annotation_id=100 + nearest,
            distance_deg=0.0,
            box=(0.5, 0.4, 0.3, 0.2),
        )
        for category in (2, 13)
    )
    path = root / f"{nearest}.json"
    write_table(path, ViewTable(views=(told,), exemplars=exemplars))
    return ViewCollator(table=str(path), store=str(store), dict_key="angio", with_seg_masks=True)


def batch_of(carrier, view, store, root):
    batch = collator(view, store, root)(asked_in(view, carrier))["angio"]
    return copy_data_to_device(batch, CPU)  # as the trainer does: drops what is not declared


def make(carrier):
    torch.manual_seed(0)
    return build("tiny", SIDE_PX, carrier)


def stirred(carrier):
    """Return a model all of whose weights are away from their first values, zeros included."""
    model = make(carrier)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=noise))
    return model


def outputs(model, batch):
    model.eval()
    with torch.no_grad():
        out = model(batch)[0]
    names = ("presence_logit_dec", "pred_logits", "pred_boxes", "pred_masks", "semantic_seg")
    return {name: out[name] for name in names}


def differ(first, second):
    return {name for name in first if not torch.equal(first[name], second[name])}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_another_view_gives_other_answers_in_every_arm_but_none(carrier, store, tmp_path):
    model = stirred(carrier)
    rao = outputs(model, batch_of(carrier, RAO, store, tmp_path))
    lao = outputs(model, batch_of(carrier, LAO, store, tmp_path))
    assert differ(rao, lao) == (set() if carrier == "none" else set(rao))


@pytest.mark.parametrize("carrier", ["exemplar", "embedding"])
def test_an_informed_arm_starts_as_the_one_that_is_told_nothing(carrier, store, tmp_path):
    informed, plain = make(carrier), stirred("none")
    save_weights(plain, tmp_path / "weights.pt")
    load_weights(informed, tmp_path / "weights.pt", added=ADDED)
    batch = batch_of(carrier, RAO, store, tmp_path)
    assert differ(outputs(informed, batch), outputs(plain, batch)) == set()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_an_arm_adds_is_named_so_and_the_rest_keeps_its_names(carrier):
    base, own = build_base("tiny", SIDE_PX).state_dict(), make(carrier).state_dict()
    added = own.keys() - base.keys()
    assert base.keys() <= own.keys()
    assert all(name.startswith(ADDED) for name in added)
    assert bool(added) == (carrier in ("exemplar", "embedding"))


def test_weights_that_an_arm_did_not_add_may_not_be_missing(tmp_path):
    path = tmp_path / "weights.pt"
    model = make("embedding")
    save_weights(make("exemplar"), path)
    with pytest.raises(ConfigError, match=r"view_exemplar\.bias'.*not in the model"):
        load_weights(model, path, added=ADDED)
    whole = model.state_dict()
    for lacking in ("view_angle.0.bias", "dot_prod_scoring.hs_proj.bias"):
        torch.save({"model": {n: w for n, w in whole.items() if n != lacking}}, path)
        with pytest.raises(ConfigError, match=f"{lacking}'.*missing in the file"):
            load_weights(model, path, added=ADDED)
    save_weights(stirred("embedding"), path)
    load_weights(model, path, added=ADDED)
    assert model.view_angle[2].weight.abs().sum() > 0


@pytest.mark.parametrize("carrier", ["exemplar", "embedding"])
def test_a_gradient_step_moves_the_projection_and_the_view_then_counts(carrier, store, tmp_path):
    model = make(carrier).train()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    batch = batch_of(carrier, RAO, store, tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        out = model(batch)[0]
        (out["presence_logit_dec"].sum() + out["semantic_seg"].mean()).backward()
        optimizer.step()
    moved = {n for n, w in model.named_parameters() if not torch.equal(w, before[n])}
    added = {name for name in before if name.startswith(ADDED)}
    assert added
    assert added <= moved
    if carrier == "exemplar":
        assert "geometry_encoder.boxes_pool_project.weight" in moved
    rao = outputs(model, batch_of(carrier, RAO, store, tmp_path))
    lao = outputs(model, batch_of(carrier, LAO, store, tmp_path))
    assert {"presence_logit_dec", "pred_masks", "semantic_seg"} <= differ(rao, lao)


def test_an_exemplar_passes_the_vision_backbone_without_a_gradient(store, tmp_path):
    model = stirred("exemplar").train()
    stage = batch_of("exemplar", RAO, store, tmp_path).find_inputs[0]
    model.view_of(stage).sum().backward()
    vision = model.backbone.vision_backbone.parameters()
    assert all(weight.grad is None for weight in vision)
    assert model.geometry_encoder.boxes_direct_project.weight.grad is not None


def test_a_query_without_an_exemplar_is_told_nothing(store, tmp_path):
    stage = batch_of("exemplar", RAO, store, tmp_path).find_inputs[0]
    assert stage.exemplar_ids.tolist() == [111, 111, -1]
    view = stirred("exemplar").view_of(stage)
    assert torch.equal(view[0], view[1])
    assert view[0].abs().sum() > 0
    assert view[2].abs().sum() == 0


def test_a_remembered_exemplar_is_forgotten_when_the_weights_change(store, tmp_path):
    model, other = stirred("exemplar"), make("exemplar")
    batch = batch_of("exemplar", RAO, store, tmp_path)
    first = outputs(model, batch)
    assert differ(first, outputs(model, batch)) == set()
    weights = {n: w + 0.03 if w.is_floating_point() else w for n, w in model.state_dict().items()}
    other.load_state_dict(weights)
    expected = outputs(other, batch)
    model.load_state_dict(weights)
    assert differ(outputs(model, batch), expected) == set()


@pytest.mark.parametrize("carrier", ["exemplar", "embedding", "text"])
def test_predictions_tell_the_view_as_a_pass_of_the_whole_batch_does(carrier, store, tmp_path):
    model = stirred(carrier)
    whole = outputs(model, batch_of(carrier, LAO, store, tmp_path))
    found = answers(model, asked_in(LAO, carrier), range(1), CPU, collator(LAO, store, tmp_path))
    presence = [answer.presence for answer in found]
    assert presence == pytest.approx(whole["presence_logit_dec"].flatten().sigmoid().tolist())


def test_none_and_text_are_the_base_model():
    assert type(make("none")) is type(build_base("tiny", SIDE_PX))
    assert type(make("text")) is type(make("none"))
