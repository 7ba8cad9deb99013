"""Additions of low rank: the same function merged, under the names that ``sam3`` has."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from timm.layers import DropPath  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.checkpoint import load_weights, save_weights  # noqa: E402
from sam3_angio.detector.low_rank import LowRankLinear, add_low_rank, merged  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402

SMALL = replace(build.TINY, resolution_px=64, drop_path=0.1)
VISION = "backbone.vision_backbone."


def sparing(rank: int) -> build.Sparing:
    return build.Sparing(
        recompute=False, compile=False, lora_rank=rank, lora_targets=("qkv", "proj", "fc1")
    )


def small(rank: int = 4, seed: int = 0, freeze=()):
    torch.manual_seed(seed)
    return build.ready_to_train(build.build_model(SMALL), freeze, 0, sparing(rank))


def stirred(model):
    """Return a model whose additions are not zero."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("lora_b"):
                weight.normal_(std=0.1)
    return model.eval()


def features(model) -> torch.Tensor:
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model.backbone.forward_image(pictures)["backbone_fpn"][-1]


def test_a_fresh_addition_changes_nothing():
    layer = torch.nn.Linear(6, 5)
    inputs = torch.rand(3, 2, 6)
    assert torch.equal(LowRankLinear(layer, 2)(inputs), layer(inputs))


def test_an_addition_is_the_product_of_its_matrices():
    layer = LowRankLinear(torch.nn.Linear(3, 2), 1)
    layer.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    layer.bias.data = torch.tensor([10.0, 20.0])
    layer.lora_a.data = torch.tensor([[0.0, 0.0, 2.0]])
    layer.lora_b.data = torch.tensor([[1.0], [3.0]])
    assert layer(torch.tensor([1.0, 1.0, 1.0])).tolist() == [13.0, 27.0]


def test_only_additions_are_trained_in_the_vision_backbone():
    model = small()
    trained = [n for n, w in model.named_parameters() if n.startswith(VISION) and w.requires_grad]
    assert len(trained) == 2 * 3 * SMALL.vision_depth
    assert all(name.endswith(("lora_a", "lora_b")) for name in trained)
    assert model.transformer.encoder.layers[0].linear1.weight.requires_grad


def test_a_backbone_that_is_frozen_learns_nothing_besides():
    names = small(freeze=("backbone.vision_backbone",)).state_dict().keys()
    assert names == build.build_model(SMALL).state_dict().keys()


def test_nothing_is_left_out_at_random_in_what_stays():
    rates = [m.drop_prob for m in small().modules() if isinstance(m, DropPath)]
    assert rates == [0.0] * len(rates)
    assert rates
    free = [m.drop_prob for m in build.build_model(SMALL).modules() if isinstance(m, DropPath)]
    assert max(free) == pytest.approx(0.1)


def test_a_saved_model_is_merged_answers_the_same_and_has_the_stock_names(tmp_path):
    model = stirred(small())
    save_weights(model, tmp_path / "checkpoint.pt")
    stock = build.build_model(SMALL).eval()
    untouched = features(stock)
    load_weights(stock, tmp_path / "checkpoint.pt")
    written = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    assert written.keys() == stock.state_dict().keys()
    assert torch.allclose(features(stock), features(model), atol=1e-5)
    assert not torch.allclose(features(stock), untouched, atol=1e-2)


def test_a_training_starts_from_a_merged_file_as_the_same_function(tmp_path):
    first = stirred(small())
    save_weights(first, tmp_path / "checkpoint.pt")
    second = small(seed=1).eval()
    load_weights(second, tmp_path / "checkpoint.pt")
    assert torch.allclose(features(second), features(first), atol=1e-5)


def test_a_state_that_was_not_merged_loads_into_either_model(tmp_path):
    first = stirred(small())
    torch.save({"model": first.state_dict()}, tmp_path / "state.pt")
    for other in (small(seed=1).eval(), build.build_model(SMALL).eval()):
        load_weights(other, tmp_path / "state.pt")
        assert torch.allclose(features(other), features(first), atol=1e-5)


def test_a_state_that_lacks_an_addition_is_refused(tmp_path):
    state = small().state_dict()
    state.pop(next(name for name in state if name.endswith("lora_b")))
    torch.save({"model": state}, tmp_path / "state.pt")
    with pytest.raises(ConfigError, match="missing in the file"):
        load_weights(small(seed=1), tmp_path / "state.pt")


def test_weights_without_additions_come_back_as_they_are():
    state = build.build_model(SMALL).state_dict()
    assert merged(state).keys() == state.keys()
    assert all(merged(state)[name] is value for name, value in state.items())


def test_a_model_without_memory_can_be_given_additions():
    with build.NoMemory():
        model = build.build_model(SMALL)
        add_low_rank(model.backbone.vision_backbone.trunk, 4, ("qkv",))
    assert all(weight.is_meta for weight in model.parameters())


def test_compiled_blocks_keep_their_names_and_their_function(monkeypatch):
    compiled = []
    real = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self: compiled.append(self) or real(self, backend="eager"),
    )
    plain = small(rank=0).eval()
    torch.manual_seed(0)
    model = build.ready_to_train(
        build.build_model(SMALL), (), 0, replace(sparing(0), compile=True)
    ).eval()
    assert len(compiled) == SMALL.vision_depth
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(features(model), features(plain), atol=1e-5)
