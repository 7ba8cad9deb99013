"""Settings that spare memory, in a whole training and in a step of the published model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import fvcore.common.param_scheduler  # noqa: E402, F401
from detector_case import run_workers, write_dataset, write_params  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402
from sam3.train.data.collator import collate_fn_api  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.drawn import DrawnScenes  # noqa: E402
from sam3_angio.detector.pretraining import lesson_recipe  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402
from sam3_angio.detector.targets import give_shape  # noqa: E402
from sam3_angio.detector.training import TREE, Outs, session, train_phase  # noqa: E402

OUTS = Outs(model=Path("model"), predictions=Path("predictions"), curves=Path("curves"))


def train() -> None:
    with session():
        train_phase(TREE, dataset=Path("dataset"), outs=OUTS)


def trained(root, phase, **settings):
    """Train in a fresh folder with some settings of ``train``; return the folder."""
    root.mkdir()
    write_dataset(root, train=4, val=1)
    write_params(root, contrast=0, **phase)
    yaml, path = YAML(), root / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    params["train"].update(settings)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
    assert run_workers(train, folder=root) == [0], (root / "rank0.log").read_text()
    return root


def first_epoch(root, name):
    curve = (root / f"curves/plots/metrics/train/{name}.tsv").read_text().splitlines()
    return float(curve[1].split("\t")[1])


def test_a_step_in_two_parts_has_the_loss_and_the_gradient_of_one_in_one(tmp_path):
    # One step of all frames, so that the curves' first point is before any weight changed.
    phase = {"epochs": 1, "batch_size": 4}
    whole = trained(tmp_path / "whole", phase)
    parts = trained(tmp_path / "parts", phase, parts=2)
    for name in ("loss", "grad_norm", "mask_dice", "classification"):
        assert first_epoch(parts, name) == pytest.approx(first_epoch(whole, name), rel=1e-3), name


def test_all_savings_together_train_and_publish_a_stock_model(tmp_path):
    settings = {"precision": "bfloat16", "parts": 2, "recompute": True, "lora_rank": 2}
    root = trained(tmp_path / "run", {"epochs": 2, "batch_size": 2}, **settings)
    weights = torch.load(root / "model" / "checkpoint.pt", weights_only=True)["model"]
    assert weights.keys() == build.build("tiny", 64).state_dict().keys()
    assert all(
        value.dtype == torch.float32 for value in weights.values() if value.is_floating_point()
    )
    metadata = json.loads((root / "model" / "metadata.json").read_text())
    assert metadata["steps"] == 2 * 2 * 2  # parts count, as in sam3's own trainer
    assert 0 < metadata["parameters_trained"] < metadata["parameters"]


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


def test_a_shallow_model_with_the_published_detector_trains_a_step():
    shallow = {"vision_depth": 2, "global_blocks": (1,), "text_depth": 1}
    small = {"vision_width": 64, "vision_heads": 2, "text_width": 64, "text_heads": 2}
    assert_trained(step_of(replace(LOW, **shallow, **small, encoder_layers=1, decoder_layers=1)))


@pytest.mark.slow
def test_the_published_model_trains_a_step_on_the_cpu():
    assert_trained(step_of(LOW))
