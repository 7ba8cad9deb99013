"""A training that is killed, spoilt or out of step: what it tells, and what it leaves."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import fvcore.common.param_scheduler  # noqa: E402, F401
import psutil  # noqa: E402
from detector_case import (  # noqa: E402
    run_workers,
    set_train,
    write_dataset,
    write_findings,
    write_params,
    write_segments,
)

from sam3_angio.command import reporting  # noqa: E402
from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector import trainer as trainers  # noqa: E402
from sam3_angio.detector import training  # noqa: E402
from sam3_angio.detector.build import build  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.keeping import SCORES, mean_score  # noqa: E402
from sam3_angio.detector.lesion_training import findings_job  # noqa: E402
from sam3_angio.detector.runtime import seed_everything  # noqa: E402
from sam3_angio.detector.training import (  # noqa: E402
    TREE,
    Outs,
    segments_job,
    session,
    train_phase,
)

OUTS = Outs(model=Path("model"), predictions=Path("answers"), curves=Path("curves"))


def train() -> None:
    with session():
        train_phase(TREE, dataset=Path("dataset"), outs=OUTS)


@pytest.fixture
def project(tmp_path):
    write_dataset(tmp_path)
    write_params(tmp_path)
    return tmp_path


def log_of(project, rank=0):
    return (project / f"rank{rank}.log").read_text()


def published(project):
    """Return the weights, the answers and the scores that a training came to."""
    weights = torch.load(project / OUTS.model / "checkpoint.pt", weights_only=True)["model"]
    answers = (project / OUTS.predictions / "results.json").read_bytes()
    metadata = json.loads((project / OUTS.model / "metadata.json").read_text())
    return weights, answers, metadata


def state_folder(project):
    return next((project / "runs" / "phase1").glob("*/state"))


def assert_same(first, second):
    assert first[0].keys() == second[0].keys()
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])
    assert first[1] == second[1]
    for name in SCORES:
        assert first[2]["last_epoch"][name] == second[2]["last_epoch"][name]


# --- killed ---------------------------------------------------------------------------------


def end_at_once(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_step(number):
    """Return a patch that ends the process in a step of the whole training."""

    def patch():
        step = trainers.PhaseTrainer._run_step

        def dying(self, *rest, **options):
            if self.steps["train"] == number:
                end_at_once()
            step(self, *rest, **options)

        trainers.PhaseTrainer._run_step = dying

    return patch


def in_the_write_of_a_state(number):
    """Return a patch that ends the process with half of a checkpoint on the disk."""

    def patch():
        save, written = torch.save, []

        def dying(content, target, *rest, **options):
            save(content, target, *rest, **options)
            if "optimizer" in content:
                written.append(target)
            if len(written) == number:
                os.truncate(target, Path(target).stat().st_size // 2)
                end_at_once()

        torch.save = dying

    return patch


def in_the_prediction():
    training._predict = end_at_once


def in_the_publication():
    training.require_unchanged = end_at_once


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    project = tmp_path_factory.mktemp("uninterrupted")
    write_dataset(project)
    write_params(project)
    assert run_workers(train, folder=project) == [0], log_of(project)
    return published(project)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(in_a_step(0), id="in the first step", marks=pytest.mark.slow),
        pytest.param(in_a_step(6), id="in the middle of the second epoch"),
        pytest.param(
            in_the_write_of_a_state(1), id="writing the first state", marks=pytest.mark.slow
        ),
        pytest.param(in_the_write_of_a_state(2), id="writing a state over another"),
        pytest.param(in_the_prediction, id="after the last epoch", marks=pytest.mark.slow),
        pytest.param(in_the_publication, id="before anything is published", marks=pytest.mark.slow),
    ],
)
def test_a_training_killed_at_any_moment_comes_to_the_same_end(moment, uninterrupted, project):
    def dying():
        moment()
        train()

    assert run_workers(dying, folder=project) == [-signal.SIGKILL]
    assert not (project / OUTS.model).exists()
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert_same(published(project), uninterrupted)
    assert published(project)[2]["seconds"] > 0
    assert [path.name for path in state_folder(project).iterdir()] == ["checkpoint.pt"]


# --- a disk that is full, or must not be written ------------------------------------------------


def on_a_full_disk(holds, number):
    """Return a patch that leaves no room for a file of weights: the one of some kind and number."""

    def patch():
        save, met = torch.save, []

        def full(content, target, *rest, **options):
            if ("optimizer" in content) == holds:
                met.append(target)
            if len(met) == number and ("optimizer" in content) == holds:
                with Path("/dev/full").open("wb", buffering=0) as stream:
                    save(content, stream if hasattr(target, "write") else "/dev/full")
            save(content, target, *rest, **options)

        torch.save = full

    return patch


def on_a_disk_that_is_read_only():
    mkdir = Path.mkdir

    def refused(path, *rest, **options):
        if "runs" in path.parts:
            raise OSError(errno.EROFS, "Read-only file system", "/mnt/Geheim^Gerda")
        mkdir(path, *rest, **options)

    Path.mkdir = refused


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(on_a_full_disk(holds=True, number=1), id="no room for the first state"),
        pytest.param(
            on_a_full_disk(holds=True, number=3),
            id="no room for a later state",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            on_a_full_disk(holds=False, number=1),
            id="no room for the published weights",
            marks=pytest.mark.slow,
        ),
        pytest.param(on_a_disk_that_is_read_only, id="a read-only disk", marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_refuses_is_told_and_costs_nothing_but_time(fault, uninterrupted, project):
    def refused():
        fault()
        with reporting():
            train()

    assert run_workers(refused, folder=project) == [1]
    told = log_of(project)
    assert "cannot be written" in told or "The disk is full, or a file must not be used" in told
    assert "Traceback" not in told
    assert "Geheim" not in told
    assert not (project / OUTS.model).exists()
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert_same(published(project), uninterrupted)


@pytest.mark.slow
def test_what_only_says_how_a_training_waits_and_loads_changes_nothing(tmp_path):
    found = []
    for settings in ({}, {"timeout_s": 200, "loader_workers": 1}):
        project = tmp_path / str(len(found))
        write_dataset(project)
        write_params(project, epochs=2)
        set_train(project, **settings)
        assert run_workers(train, folder=project) == [0], log_of(project)
        found.append(published(project))
    assert_same(*found)
    assert found[0][2]["fingerprint"] == found[1][2]["fingerprint"]


@pytest.mark.slow
def test_a_training_whose_loader_is_killed_comes_to_the_same_end(tmp_path):
    def with_loaders(folder):
        write_dataset(folder)
        write_params(folder)
        params = folder / "params.yaml"
        params.write_text(params.read_text().replace("loader_workers: 0", "loader_workers: 1"))
        return folder

    def killing():
        step = trainers.PhaseTrainer._run_step

        def lonely(self, *rest, **options):
            if self.steps["train"] == 5:
                for child in psutil.Process().children():
                    child.kill()
            step(self, *rest, **options)

        trainers.PhaseTrainer._run_step = lonely
        train()

    whole, broken = with_loaders(tmp_path / "whole"), with_loaders(tmp_path / "broken")
    assert run_workers(train, folder=whole) == [0], log_of(whole)
    assert run_workers(killing, folder=broken) == [1]
    assert not (broken / OUTS.model).exists()
    assert run_workers(train, folder=broken) == [0], log_of(broken)
    assert_same(published(broken), published(whole))


# --- out of step ----------------------------------------------------------------------------


def test_a_worker_that_skips_a_step_takes_the_training_down(project):
    def skipping():
        step = trainers.PhaseTrainer._run_step

        def with_a_gap(self, *rest, **options):
            if not (self.rank == 1 and self._batches.taken == 2):
                step(self, *rest, **options)
            elif self.gradient_clipper is not None:
                self.optim.zero_grad(set_to_none=False)

        trainers.PhaseTrainer._run_step = with_a_gap
        train()

    write_params(project, batch_size=1)
    assert run_workers(skipping, folder=project, count=2) == [1, 1]
    for rank in range(2):
        assert "The workers are not at the same step" in log_of(project, rank)


@pytest.mark.slow  # half a minute
def test_a_slow_disk_is_waited_for_longer_than_a_worker_that_hangs(project):
    def slowly():
        save, join = torch.save, training.joined

        def saved(*content, **options):
            time.sleep(6)
            save(*content, **options)

        torch.save = saved
        training.joined = lambda _: join(3)
        train()

    write_params(project, batch_size=1, epochs=2)
    assert run_workers(slowly, folder=project, count=2) == [0, 0], log_of(project)


def test_each_worker_draws_its_own_random_numbers_and_again_the_same():
    def drawn(*parts):
        seed_everything(*parts)
        return torch.rand(4).tolist()

    draws = {(rank, epoch): drawn(123, rank, epoch) for rank in range(2) for epoch in range(2)}
    assert len({tuple(values) for values in draws.values()}) == 4
    assert drawn(123, 1, 0) == draws[1, 0]


# --- two workers and one --------------------------------------------------------------------


def gradients(job, *, project, workers, batch_size, changes):
    """Return the gradients of a training's first step, taken by some workers."""

    def one_step():
        def keep(self, model):
            found = {name: weight.grad for name, weight in model.named_parameters()}
            torch.save({k: v for k, v in found.items() if v is not None}, "gradients.pt")
            raise SystemExit(7)

        trainers.GradientClipper.__call__ = keep
        with session():
            train_phase(job, dataset=Path("dataset"), outs=OUTS)

    section = f"train_{job.recipe}"
    write_params(project, section=section, batch_size=batch_size, freeze_text=False, **changes)
    assert run_workers(one_step, folder=project, count=workers) == [7] * workers, log_of(project)
    return torch.load(project / "gradients.pt", weights_only=True)


#: Phrases of which some frames are asked more than others, whose labels they must not claim.
UNEVEN = {"negatives": {"per_image": 0.5, "rivals_per_image": 0.5, "rivals_weight": 30}}


@pytest.mark.parametrize(
    ("recipe", "changes"), [("phase1", {}), ("phase2", {}), ("phase2", UNEVEN), ("phase4", UNEVEN)]
)
def test_two_workers_have_the_gradients_of_one_with_twice_the_batch(recipe, changes, tmp_path):
    # all frames in the first step, whoever has them
    (write_dataset if recipe == "phase1" else write_segments)(tmp_path, train=4)
    if recipe == "phase4":
        write_findings(tmp_path / "dataset", every=4)  # of one frame, and so of one worker
    start = tmp_path / "start" / "checkpoint.pt"
    start.parent.mkdir()
    torch.manual_seed(0)
    save_weights(build("tiny", 64), start)
    write_params(tmp_path)
    config = load_config(tmp_path / "params.yaml")
    jobs = {
        "phase1": TREE,
        "phase2": segments_job(Path("start")),
        "phase4": findings_job(Path("start"), config),
    }
    take = partial(gradients, jobs[recipe], project=tmp_path, changes=changes)
    alone, together = take(workers=1, batch_size=4), take(workers=2, batch_size=2)
    assert alone.keys() == together.keys()
    for name, gradient in alone.items():
        # sums are taken in another order, and some gradients are nothing but rounding
        noise = 1e-4 * float(gradient.abs().max()) + 1e-6
        assert torch.allclose(gradient, together[name], atol=noise, rtol=0), name


@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_scores_do_not_depend_on_how_many_workers_share_the_validation(workers, tmp_path):
    found = []
    for count in (1, workers):
        project = tmp_path / str(count)
        write_dataset(project, train=6, val=4 if workers == 3 else 3)
        # a rate at which no weight moves
        still = dict.fromkeys(("lr", "lr_vision", "lr_text"), 1e-30)
        write_params(project, epochs=1, batch_size=1, weight_decay=0, **still)
        assert run_workers(train, folder=project, count=count) == [0] * count, log_of(project)
        found.append(published(project)[2]["last_epoch"])
    for name in SCORES:
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-9)


# --- a loss that is not finite --------------------------------------------------------------


def spoilt_from(epoch):
    def work():
        from sam3.train.loss.loss_fns import Boxes

        inner, begin = Boxes.get_loss, trainers.PhaseTrainer.train_epoch

        def begun(self, loader):
            if self.epoch == epoch:
                Boxes.get_loss = lambda box, **_: dict.fromkeys(
                    box.weight_dict, torch.tensor(float("inf"))
                )
            return begin(self, loader)

        trainers.PhaseTrainer.train_epoch = begun
        assert inner is not None
        train()

    return work


def test_a_spoilt_training_keeps_its_last_good_state_and_says_how_to_go_on(project):
    assert run_workers(spoilt_from(1), folder=project) == [1]
    told = log_of(project)
    assert "Phase 1 stopped in epoch 2" in told
    assert "The state after epoch 1 is kept" in told
    assert "lower the learning rate" in told
    state = torch.load(state_folder(project) / "checkpoint.pt", weights_only=True)
    assert state["epoch"] == 1
    assert all(value.isfinite().all() for value in state["model"].values())


def test_the_kept_state_is_a_start_for_another_training(project):
    import shutil

    run_workers(spoilt_from(1), folder=project)
    shutil.copy(state_folder(project) / "checkpoint.pt", project / "good.pt")
    write_params(project, lr=1e-5, epochs=1)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("checkpoint: none", "checkpoint: good.pt"))
    assert run_workers(train, folder=project) == [0], log_of(project)


def test_a_training_spoilt_in_its_first_epoch_does_not_speak_of_a_good_state(project):
    assert run_workers(spoilt_from(0), folder=project) == [1]
    assert "No epoch was finished" in log_of(project)
    assert "is kept" not in log_of(project)


# --- what is kept ---------------------------------------------------------------------------


def scored(*scores):
    """Return a training whose validations are said to score so, after which the last is real."""

    def work():
        inner, given = trainers.validate, iter(scores)

        def told(*rest):
            inner(*rest)
            return dict.fromkeys(SCORES, next(given))

        trainers.validate = told
        train()

    return work


def weights_after(project, epoch):
    """Return the weights of a training that ends after some epochs of the same schedule."""

    def work():
        run = trainers.PhaseTrainer.run_train

        def cut(self):
            inner = self.train_epoch

            def last(loader):
                outs = inner(loader)
                if self.epoch + 1 == epoch:
                    self.max_epochs = epoch
                return outs

            self.train_epoch = last
            run(self)

        trainers.PhaseTrainer.run_train = cut
        train()

    assert run_workers(work, folder=project) == [0], log_of(project)
    return published(project)[0]


@pytest.mark.slow
def test_the_best_epoch_is_published_where_that_is_asked_for(tmp_path):
    reference, project = tmp_path / "reference", tmp_path / "best"
    for folder in (reference, project):
        write_dataset(folder)
        write_params(folder, val_every=1, keep="best" if folder == project else "last")
    expected = weights_after(reference, 2)
    assert run_workers(scored(0.2, 0.9, 0.4), folder=project) == [0], log_of(project)
    weights, _, metadata = published(project)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (metadata["epochs_done"], metadata["epoch_kept"]) == (3, 2)
    assert mean_score(metadata["last_epoch"]) == pytest.approx(0.9)
    assert sorted(p.name for p in state_folder(project).iterdir()) == ["best_2.pt", "checkpoint.pt"]


def test_a_training_that_gets_no_better_ends_early(project):
    write_params(project, val_every=1, epochs=6, patience=2)
    assert run_workers(scored(0.2, 0.9, 0.4, 0.5), folder=project) == [0], log_of(project)
    assert published(project)[2]["epochs_done"] == 4
    assert "ends after epoch 4" in log_of(project)


def test_a_training_that_is_out_of_time_ends_with_a_validation_and_is_published(project):
    write_params(project, section="train", max_minutes=1e-6)  # three epochs, a validation every two
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert published(project)[2]["epochs_done"] == 2
    assert "out of time, ends after epoch 2" in log_of(project)


@pytest.mark.slow  # twenty seconds
def test_a_training_that_ended_early_does_not_go_on_when_it_is_resumed(project):
    def killed():
        training._predict = end_at_once
        scored(0.2, 0.9, 0.4, 0.5)()

    write_params(project, val_every=1, epochs=6, patience=2, keep="best")
    assert run_workers(killed, folder=project) == [-signal.SIGKILL]
    assert run_workers(train, folder=project) == [0], log_of(project)
    metadata = published(project)[2]
    assert (metadata["epochs_done"], metadata["epoch_kept"]) == (4, 2)


def test_the_curves_have_the_norm_of_the_gradient_the_rates_and_the_presence(project):
    write_params(project, lr=1e-3, lr_vision=1e-4, lr_text=1e-5, epochs=1)
    assert run_workers(train, folder=project) == [0], log_of(project)
    last = published(project)[2]["last_epoch"]
    assert last["train/grad_norm"] > 0
    assert last["train/lr"] == pytest.approx(10 * last["train/lr_vision"])
    assert last["train/lr"] == pytest.approx(100 * last["train/lr_text"])
    assert 0 <= last["train/presence_accuracy"] <= 1
