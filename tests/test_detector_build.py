"""Models of any size from the package's own classes."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3 import model_builder  # noqa: E402
from sam3.model.decoder import TransformerDecoder  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402

SMALL = replace(build.TINY, resolution_px=64)


@pytest.fixture(autouse=True)
def _runtime():
    prepare(threads=1)


def make_batch(phrases: list[str], side_px: int = 64):
    """Return what the collator makes of one frame of noise and some phrases without targets."""
    from sam3.train.data.collator import collate_fn_api
    from sam3.train.data.sam3_image_dataset import (
        Datapoint,
        FindQueryLoaded,
        Image,
        InferenceMetadata,
    )

    picture = torch.randn(3, side_px, side_px, generator=torch.Generator().manual_seed(3))
    details = InferenceMetadata(
        coco_image_id=1,
        original_image_id=1,
        original_category_id=1,
        original_size=(side_px, side_px),
        object_id=-1,
        frame_index=-1,
    )
    queries = [
        FindQueryLoaded(
            query_text=phrase,
            image_id=0,
            object_ids_output=[],
            is_exhaustive=True,
            inference_metadata=details,
        )
        for phrase in phrases
    ]
    image = Image(data=picture, objects=[], size=(side_px, side_px))
    sample = Datapoint(find_queries=queries, images=[image])
    return collate_fn_api([sample], dict_key="all", with_seg_masks=True)["all"]


def published_by_the_package(monkeypatch):
    """Build the package's own model without memory and without the CUDA it asks for."""
    stock = model_builder._create_position_encoding
    monkeypatch.setattr(
        model_builder, "_create_position_encoding", lambda precompute_resolution=None: stock(None)
    )
    monkeypatch.setattr(
        TransformerDecoder, "_get_coords", staticmethod(lambda height, width, device: (None, None))
    )
    vocabulary = resources.files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz")
    with build.NoMemory():
        return model_builder.build_sam3_image_model(
            bpe_path=str(vocabulary), device="cpu", eval_mode=False, load_from_HF=False
        )


def shapes(model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def test_the_published_size_has_the_names_and_shapes_of_the_package_s_own_model(monkeypatch):
    with build.NoMemory():
        ours = build.build_model(build.PUBLISHED)
    assert shapes(ours) == shapes(published_by_the_package(monkeypatch))
    assert all(weight.is_meta for weight in ours.parameters())
    assert sum(weight.numel() for weight in ours.parameters()) == 840_509_750


def test_masks_come_out_at_four_times_the_grid():
    model = build.build_model(SMALL).eval()
    with torch.no_grad():
        out = model(make_batch(["coronary artery"]))[0]
    assert SMALL.mask_px == 4 * 64 // SMALL.patch_px
    assert out["semantic_seg"].shape == (1, 1, SMALL.mask_px, SMALL.mask_px)
    assert out["pred_masks"].shape == (1, SMALL.queries, SMALL.mask_px, SMALL.mask_px)
    assert torch.isfinite(out["pred_masks"]).all()


def test_a_resolution_that_the_patch_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="not a multiple"):
        build.model_spec("tiny", 100 * build.TINY.patch_px + 1)


def test_the_phrase_reaches_the_answer():
    model = build.build_model(SMALL).eval()
    with torch.no_grad():
        out = model(make_batch(["coronary artery", "rib", "coronary artery"]))[0]
    first, other, again = out["semantic_seg"]
    assert torch.allclose(first, again, atol=1e-5)
    assert not torch.allclose(first, other, atol=1e-5)


def test_a_frozen_text_encoder_gives_what_it_gave_before_it_was_frozen():
    encoder = build.build_model(SMALL).backbone.language_backbone
    phrases = ["mid LAD", "coronary artery", "mid LAD"]
    trained = encoder(phrases, device="cpu")
    encoder.encoder.requires_grad_(False)
    for ours, theirs in zip(encoder(phrases, device="cpu"), trained, strict=True):
        assert torch.allclose(ours.float(), theirs.float(), atol=1e-6)


def test_loading_weights_empties_the_store_of_phrases():
    encoder = build.build_model(SMALL).backbone.language_backbone.requires_grad_(False)
    before = encoder(["rib"], device="cpu")[1]
    changed = {name: value * 2 for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(changed)
    assert not torch.allclose(before, encoder(["rib"], device="cpu")[1])


def test_keeping_activations_gives_the_gradients_of_recomputing_them():
    gradients = {}
    for recompute in (False, True):
        torch.manual_seed(0)
        model = build.build_model(replace(SMALL, recompute=recompute)).train()
        model(make_batch(["coronary artery"]))[0]["semantic_seg"].square().mean().backward()
        gradients[recompute] = {
            name: weight.grad
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }
    assert gradients[False].keys() == gradients[True].keys()
    for name, gradient in gradients[False].items():
        assert torch.allclose(gradient, gradients[True][name], atol=1e-6), name


def test_frozen_parts_are_not_trained():
    model = build.build("tiny", 64, freeze=["backbone.language_backbone.encoder"])
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen
    assert all(name.startswith("backbone.language_backbone.encoder.") for name in frozen)
