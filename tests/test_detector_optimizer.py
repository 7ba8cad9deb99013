"""AdamW with moments of 8 bits beside PyTorch's own."""

from __future__ import annotations

import io

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3_angio.detector.optimizer import adamw  # noqa: E402

LARGE, SMALL = (128, 64), (64,)


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in (LARGE, SMALL)]


def optimizer_of(values, kind):
    optimizer = adamw(values, kind=kind)
    for group in optimizer.param_groups:
        group.update(lr=1e-2, weight_decay=0.1)
    return optimizer


def step(values, optimizer, number):
    generator = torch.Generator().manual_seed(number)
    for value in values:
        # From step to step much the same direction, as gradients of a training have.
        value.grad = 0.1 * value.detach() + 0.1 * torch.randn(value.shape, generator=generator)
    optimizer.step()


def trained(kind, steps=20):
    values = weights()
    optimizer = optimizer_of(values, kind)
    for number in range(steps):
        step(values, optimizer, number)
    return values, optimizer


def test_moments_take_a_byte_a_number_and_those_of_small_tensors_four():
    values, optimizer = trained("adamw8bit")
    large, small = (
        [part for part in optimizer.state[value].values() if torch.is_tensor(part)]
        for value in values
    )
    moments = [part for part in large if part.numel() == values[0].numel()]
    assert [part.dtype for part in moments] == [torch.uint8] * 2
    moments = [part for part in small if part.numel() == values[1].numel()]
    assert [part.dtype for part in moments] == [torch.float32] * 2


def test_weights_move_as_those_of_pytorch_s_optimiser():
    start = weights()
    exact, _ = trained("adamw")
    small, _ = trained("adamw8bit")
    moved = exact[0] - start[0]
    assert moved.abs().mean() > 0.05
    assert (small[0] - exact[0]).norm() < 0.05 * moved.norm()
    torch.testing.assert_close(small[1], exact[1], atol=1e-5, rtol=1e-4)


def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been():
    values, optimizer = trained("adamw8bit", steps=5)
    saved = io.BytesIO()
    torch.save({"weights": values, "state": optimizer.state_dict()}, saved)
    saved.seek(0)
    read = torch.load(saved, weights_only=True)
    resumed = [torch.nn.Parameter(value.detach().clone()) for value in read["weights"]]
    other = optimizer_of(resumed, "adamw8bit")
    other.load_state_dict(read["state"])
    for number in range(5, 10):
        step(values, optimizer, number)
        step(resumed, other, number)
    for one, two in zip(values, resumed, strict=True):
        assert torch.equal(one, two)
