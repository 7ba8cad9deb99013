"""Learning rates of the parts of a model, as the packaged configuration gives them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3.train.optim.optimizer import construct_optimizer  # noqa: E402

from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.recipe import compose_recipe  # noqa: E402
from sam3_angio.detector.run_folder import parameters_of  # noqa: E402
from sam3_angio.detector.training import TREE  # noqa: E402
from sam3_angio.profiles import profile_names, read_profile  # noqa: E402

ROOT = Path(__file__).parents[1]
SMALL = replace(build.TINY, resolution_px=64)
VISION = "backbone.vision_backbone."
TRUNK = f"{VISION}trunk."
BLOCK = re.compile(re.escape(TRUNK) + r"blocks\.(\d+)\.")
PEAKS = {"lr": 8e-5, "lr_vision": 2.5e-5, "lr_text": 5e-6}
PHASES = ("train_phase1", "train_phase2", "train_phase3", "train_phase4")


def small(*, lora_rank: int = 0, freeze: tuple[str, ...] = ()) -> torch.nn.Module:
    sparing = build.Sparing(
        recompute=False, compile=False, lora_rank=lora_rank, lora_targets=("qkv", "proj")
    )
    return build.ready_to_train(build.build_model(SMALL), freeze, 0, sparing)


def settings(**phase):
    """Return the optimiser's part of the configuration."""
    parameters = parameters_of(load_config(ROOT / "params.yaml"), TREE.sections)
    parameters["train_phase1"].update(PEAKS | phase)
    keys = ("label", "folder", "curves", "accelerator", "queries", "remember_mb", "initial")
    stores = ("train_document", "train_store", "val_document", "val_store")
    run = dict.fromkeys((*keys, *stores), "none") | {"frozen": [], "loader_workers": 0}
    return compose_recipe("phase1", parameters, run).trainer.optim


def optimizer_of(model, conf):
    return construct_optimizer(model, conf.optimizer, conf.options, conf.param_group_modifiers)


def option_of(model, optimizer, name: str = "lr") -> dict[str, float]:
    """Return an option of each trained weight, by the weight's name."""
    found = {
        id(weight): group[name]
        for group in optimizer.optimizer.param_groups
        for weight in group["params"]
    }
    return {
        weight_name: found[id(weight)]
        for weight_name, weight in model.named_parameters()
        if weight.requires_grad
    }


def rates(model, where: float = 0.05, **phase) -> dict[str, float]:
    """Return the rate of each trained weight at a fraction of a training; 0.05 is the peak."""
    optimizer = optimizer_of(model, settings(**phase))
    optimizer.step_schedulers(where, step=0)
    return option_of(model, optimizer)


def test_each_block_of_the_backbone_learns_at_a_fraction_of_the_next_one_s_rate():
    found = rates(small(), vision_layer_decay=0.9)
    count = SMALL.vision_depth
    seen = set()
    for name, rate in found.items():
        block = BLOCK.match(name)
        if block:
            seen.add(int(block[1]))
            assert rate == pytest.approx(2.5e-5 * 0.9 ** (count - int(block[1])), rel=1e-12), name
    assert seen == set(range(count))


def test_what_is_before_the_blocks_learns_slowest_and_the_rest_as_if_nothing_decayed():
    found = rates(small(), vision_layer_decay=0.9)
    first = 2.5e-5 * 0.9 ** (SMALL.vision_depth + 1)
    assert found[f"{TRUNK}patch_embed.proj.weight"] == pytest.approx(first, rel=1e-12)
    assert found[f"{TRUNK}ln_pre.weight"] == pytest.approx(first, rel=1e-12)
    assert found[f"{TRUNK}pos_embed"] == 2.5e-5
    rest = {name: rate for name, rate in found.items() if not name.startswith(TRUNK)}
    assert {rate for name, rate in rest.items() if name.startswith(VISION)} == {2.5e-5}
    text = "backbone.language_backbone."
    assert {rate for name, rate in rest.items() if name.startswith(text)} == {5e-6}
    assert {rate for name, rate in rest.items() if not name.startswith("backbone.")} == {8e-5}


@pytest.mark.parametrize("where", [0.0, 0.02, 0.05, 0.4, 0.99])
def test_a_decay_of_one_leaves_every_rate_bit_by_bit_as_it_is_without(where):
    model = small()
    without = settings()
    without.param_group_modifiers = None
    optimizer = optimizer_of(model, without)
    optimizer.step_schedulers(where, step=0)
    assert rates(model, where, vision_layer_decay=1.0) == option_of(model, optimizer)


def test_the_decay_holds_all_along_the_schedule():
    model = small()
    name = f"{TRUNK}blocks.0.attn.qkv.weight"
    for where in (0.0, 0.4, 0.99):
        plain = rates(model, where, vision_layer_decay=1.0)[name]
        slowed = rates(model, where, vision_layer_decay=0.9)[name]
        assert slowed == pytest.approx(plain * 0.9**SMALL.vision_depth, rel=1e-12)


def test_the_decay_of_weights_is_not_touched():
    model = small()
    found = [
        option_of(model, optimizer_of(model, settings(vision_layer_decay=decay)), "weight_decay")
        for decay in (1.0, 0.9)
    ]
    assert found[0] == found[1]
    assert set(found[0].values()) == {0.0, 1e-4}


def test_a_step_with_a_decay_of_one_is_bit_by_bit_the_step_without():
    stepped = []
    for modifiers in (True, False):
        torch.manual_seed(0)
        model = small()
        conf = settings(vision_layer_decay=1.0)
        if not modifiers:
            conf.param_group_modifiers = None
        optimizer = optimizer_of(model, conf)
        generator = torch.Generator().manual_seed(1)
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step(0.05, step=1)
        stepped.append(model.state_dict())
    assert all(torch.equal(value, stepped[1][name]) for name, value in stepped[0].items())


def test_additions_of_low_rank_decay_with_their_block():
    found = rates(small(lora_rank=2), vision_layer_decay=0.9)
    added = {name: rate for name, rate in found.items() if name.startswith(VISION)}
    assert len(added) == 2 * 2 * SMALL.vision_depth
    for name, rate in added.items():
        block = int(BLOCK.match(name)[1])
        assert name.endswith(("lora_a", "lora_b"))
        assert rate == pytest.approx(2.5e-5 * 0.9 ** (SMALL.vision_depth - block), rel=1e-12)


def test_a_frozen_backbone_has_no_rates_and_the_rest_keeps_its_own():
    found = rates(small(freeze=("backbone.vision_backbone",)), vision_layer_decay=0.9)
    assert not any(name.startswith(VISION) for name in found)
    assert found["transformer.encoder.layers.0.linear1.weight"] == 8e-5


@pytest.mark.parametrize("name", profile_names(ROOT / "profiles"))
def test_profiles_decay_where_sam_3_s_own_fine_tuning_does(name):
    values = read_profile(name, ROOT / "profiles")
    whole = values["model.size"] == "published" and not values["train.lora_rank"]
    decays = {values[f"{phase}.vision_layer_decay"] for phase in PHASES}
    assert decays == {0.9 if whole else 1.0}
