"""Which worker trains on which frames."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from sam3_angio.detector.shares import ShareSampler  # noqa: E402


def shares(count: int, workers: int, epoch: int, seed: int = 3) -> list[list[int]]:
    found = []
    for worker in range(workers):
        sampler = ShareSampler(count, worker, workers, seed=seed)
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


@pytest.mark.parametrize(("count", "workers"), [(1, 1), (1, 3), (7, 2), (8, 2), (9, 4), (359, 8)])
def test_every_frame_is_in_an_equal_share(count: int, workers: int) -> None:
    found = shares(count, workers, epoch=0)
    assert {place for share in found for place in share} == set(range(count))
    assert {len(share) for share in found} == {-(-count // workers)}


def test_a_worker_keeps_its_frames_in_another_order() -> None:
    first, second = shares(40, 2, epoch=0), shares(40, 2, epoch=1)
    assert [sorted(share) for share in first] == [sorted(share) for share in second]
    assert first != second
    assert not set(first[0]) & set(first[1])


def test_an_epoch_repeats_itself_exactly() -> None:
    assert shares(40, 2, epoch=5) == shares(40, 2, epoch=5)


def test_another_seed_deals_other_shares() -> None:
    assert sorted(shares(40, 2, epoch=0)[0]) != sorted(shares(40, 2, epoch=0, seed=4)[0])


def test_workers_do_not_walk_in_the_same_order() -> None:
    # Places within the shares: one order for all would pair the same frames in every epoch.
    orders = []
    for worker in (0, 1):
        sampler = ShareSampler(40, worker, 2, seed=3)
        share = sampler._share.tolist()
        orders.append([share.index(place) for place in sampler])
    assert orders[0] != orders[1]
