"""A training step whose vision backbone is compiled, by a real compiler, on the CPU."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

# Four minutes of one core, most of them the compiler's.
pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(3600)]
torch = pytest.importorskip("torch")

import torch.distributed as dist  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from sam3.train.data.collator import collate_fn_api  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.drawn import DrawnScenes  # noqa: E402
from sam3_angio.detector.pretraining import lesson_recipe  # noqa: E402
from sam3_angio.detector.runtime import deterministic, prepare  # noqa: E402
from sam3_angio.detector.targets import give_shape  # noqa: E402

SMALL = replace(build.TINY, resolution_px=128)
TRUNK = "backbone.vision_backbone.trunk."
PLAIN = build.Sparing(
    recompute=False, compile=False, lora_rank=0, lora_targets=("qkv", "proj", "fc1")
)
RECOMPUTED, LOW_RANK = {"recompute": True}, {"lora_rank": 4}
SETTINGS = {
    "alone": ({}, "float32"),
    "recompute": (RECOMPUTED, "float32"),
    "LoRA": (LOW_RANK, "float32"),
    "recompute and LoRA": (RECOMPUTED | LOW_RANK, "float32"),
    "bfloat16": ({}, "bfloat16"),
    "all of them": (RECOMPUTED | LOW_RANK, "bfloat16"),
}
#: Relative, of the loss and of a gradient's norm. In single precision sums are taken in another
#: order; in bfloat16, of 8 bits, fused operations are rounded once where others are after each.
TOLERANCE = {"float32": (1e-6, 1e-5), "bfloat16": (1e-3, 0.1)}


@pytest.fixture(scope="module", autouse=True)
def as_in_a_training(tmp_path_factory):
    """Be the only worker, with an empty cache of compiled code and deterministic algorithms."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "cache"))
        prepare(threads=1)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder / 'group'}", rank=0, world_size=1
        )
        with deterministic():
            yield
        torch.use_deterministic_algorithms(False)
        dist.destroy_process_group()


def ready(sparing: build.Sparing) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build.build_model(build.spared(SMALL, sparing))
    model = build.ready_to_train(model, ["backbone.language_backbone.encoder"], 0, sparing)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("lora_b"):
                weight.normal_(std=0.05)
    return model.train()


def sample():
    scenes = DrawnScenes(
        first=5,
        scenes=2,
        side_px=SMALL.resolution_px,
        positives=1,
        negatives=1,
        words="all",
        fresh=False,
    )
    batch = collate_fn_api([scenes[0], scenes[1]], dict_key="angio", with_seg_masks=True)["angio"]
    give_shape(batch)
    return batch


def step(sparing: build.Sparing, precision: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss of a step and the gradients of the vision transformer's weights."""
    model = ready(sparing)
    settings = lesson_recipe(0, None).trainer.loss.angio
    settings.loss_fns_find[1].pad_n_queries = SMALL.queries
    loss = instantiate(settings)
    wrapped = DistributedDataParallel(
        model, find_unused_parameters=True, gradient_as_bucket_view=True
    )
    batch = sample()
    torch.manual_seed(1)  # of the points at which masks are compared
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        targets = [model.back_convert(target) for target in batch.find_targets]
        value = loss(wrapped(batch), targets)["core_loss"]
    value.backward()
    gradients = {
        name: weight.grad
        for name, weight in model.named_parameters()
        if name.startswith(TRUNK) and weight.grad is not None
    }
    return value.item(), gradients


@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")),
    reason="there is no C++ compiler, which torch.compile needs on a CPU",
)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_compiled_step_has_the_loss_and_the_gradients_of_one_that_is_not(name):
    changes, precision = SETTINGS[name]
    sparing = replace(PLAIN, **changes)
    torch._dynamo.reset()
    counters.clear()
    loss, gradients = step(sparing, precision)
    assert not counters["stats"]
    compiled_loss, compiled = step(replace(sparing, compile=True), precision)
    assert counters["inductor"]["extern_calls"]
    assert not counters["graph_break"]
    near, close = TOLERANCE[precision]
    assert compiled_loss == pytest.approx(loss, rel=near)
    assert compiled.keys() == gradients.keys()
    assert any(".blocks.0." in key for key in gradients)
    for key, gradient in gradients.items():
        assert gradient.norm() > 0, key
        assert (compiled[key] - gradient).norm() < close * gradient.norm(), key
