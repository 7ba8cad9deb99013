"""Before a training: what cannot come to its end is refused, and said in one table."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import (  # noqa: E402
    REPOSITORY,
    SIDE_PX,
    set_train,
    write_dataset,
    write_params,
)
from rich.console import Console  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from sam3_angio import cli  # noqa: E402
from sam3_angio.coco import Annotation, Document, Rle  # noqa: E402
from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector import build, doctor, machine, preflight  # noqa: E402
from sam3_angio.detector.activations import Step, activation_bytes  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.frames import load_frames, prepare, prepared_bytes  # noqa: E402
from sam3_angio.detector.machine import Gpu, Machine  # noqa: E402
from sam3_angio.detector.preflight import Finding, Frames, Need, examine  # noqa: E402
from sam3_angio.detector.training import TREE  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402
from sam3_angio.profiles import apply_profile  # noqa: E402

GIB = 2**30
CARD = Gpu(name="RTX 3090", total_bytes=24 * GIB, used_bytes=0)
CPU_ONLY = Machine(
    system="Linux x86_64",
    python="3.11.7",
    packages={"torch": "2.15.0"},
    commit="0123456789ab",
    cores=8,
    memory_bytes=64 * GIB,
    disk_bytes=500 * GIB,
    shared_bytes=8 * GIB,
    gpus=(),
    cuda=None,
    nccl=False,
    gloo=True,
    triton=False,
)
TWO_CARDS = replace(CPU_ONLY, gpus=(CARD, CARD), cuda="13.0", nccl=True, triton=True)
#: Two frames of one phrase, as Phase 1 of the profile rtx3090x2 has them.
PAIR = Step(
    size="published",
    side_px=1008,
    frames=2,
    queries=1,
    precision="bfloat16",
    recompute=True,
    learns_to_see=True,
)
#: All 840 million numbers of the published model, trained with Adam.
FULL = Need(
    label="Phase 1",
    workers=2,
    nodes=1,
    threads=2,
    loader_workers=2,
    batch_size=2,
    frames=Frames(count=1000),
    step=PAIR,
    parameters=840_509_750,
    trained=840_509_750,
    moment_bytes=8,
)


def verdicts(machine: Machine, need: Need) -> dict[str, str]:
    """Return the findings that are not good."""
    found = examine(machine, [need])
    return {one.about: one.verdict for one in found if one.verdict != "good"}


def test_a_training_that_fits_has_no_finding_to_mend():
    assert verdicts(TWO_CARDS, FULL) == {}


def test_full_training_takes_sixteen_bytes_a_number_and_a_frozen_number_four():
    assert FULL.memory_bytes == 16 * 840_509_750
    assert replace(FULL, trained=0).memory_bytes == 4 * 840_509_750
    assert replace(FULL, moment_bytes=2).memory_bytes == 10 * 840_509_750


def test_the_disk_must_hold_two_checkpoints_beside_the_published_weights():
    assert FULL.disk_bytes == (2 * 12 + 4) * 840_509_750
    resumed = replace(FULL, kept_bytes=12 * 840_509_750)
    assert resumed.disk_bytes == (12 + 4) * 840_509_750
    assert verdicts(replace(TWO_CARDS, disk_bytes=20 * GIB), FULL) == {"disk, Phase 1": "error"}
    assert verdicts(replace(TWO_CARDS, disk_bytes=20 * GIB), resumed) == {}


def test_two_files_of_best_weights_and_the_prepared_frames_are_asked_for_besides():
    best = replace(FULL, keeps_best=True)
    assert best.disk_bytes - FULL.disk_bytes == 2 * 4 * 840_509_750
    unprepared = replace(FULL, frames=Frames(count=1000, unprepared_bytes=100 * GIB))
    assert unprepared.disk_bytes - FULL.disk_bytes == 100 * GIB
    # What a resumed training has already makes no room for frames.
    assert replace(unprepared, kept_bytes=10**12).disk_bytes == 100 * GIB
    assert verdicts(replace(TWO_CARDS, disk_bytes=120 * GIB), FULL) == {}
    about = "disk, Phase 1"
    assert verdicts(replace(TWO_CARDS, disk_bytes=120 * GIB), unprepared) == {about: "error"}


def test_a_model_that_a_card_cannot_hold_is_an_error_and_a_narrow_fit_a_warning():
    about = "GPU memory, Phase 1"

    def verdict(total_gib):
        card = replace(CARD, total_bytes=total_gib * GIB)
        return verdicts(replace(TWO_CARDS, gpus=(CARD, card)), FULL).get(about, "good")

    # Two frames took 14.2 GiB on an H200 without the gradients, of 3.1 GiB, that workers hold.
    assert [verdict(size) for size in (12, 14, 16, 18, 24)] == [
        *("error", "error"),
        *("warning", "warning"),
        "good",
    ]


#: Measured with benchmarks/training.py on an H200: frames, numbers, trained ones, bytes of the
#: optimiser for each of these, and the peak in 10⁹ bytes; see docs/how-to/real-model.md.
MEASURED = {
    "one frame": (1, 840_509_750, 487_047_478, 8, 10.09),
    "two frames": (2, 840_509_750, 487_047_478, 8, 11.85),
    "text encoder too": (2, 840_509_750, 840_509_750, 8, 15.30),
    "moments of 8 bits": (2, 840_509_750, 840_509_750, 2, 10.32),
    "LoRA of rank 16": (1, 843_655_478, 36_153_398, 8, 5.64),
}


@pytest.mark.parametrize("way", MEASURED)
def test_the_estimate_is_what_was_measured(way):
    frames, parameters, trained, moment_bytes, measured_gb = MEASURED[way]
    # The benchmark has no gradients when its activations are at their peak.
    kept = 4 * parameters + moment_bytes * trained
    estimated = kept + activation_bytes(replace(PAIR, frames=frames), trained)
    assert estimated / 1e9 == pytest.approx(measured_gb, abs=0.12)


@pytest.mark.parametrize(
    ("gpu_gb", "profile"),
    [(5.2, "lora-16gb"), (11.6, "rtx3090x2")],
)
def test_a_card_that_a_profile_was_measured_not_to_fit_is_not_good(gpu_gb, profile, project):
    apply_profile(profile, project / "params.yaml", REPOSITORY / "profiles", dry_run=False)
    config = load_config()
    need = preflight.need_of(doctor.job_recipe(TREE, config), workers=1, frames=None)
    card = replace(CARD, total_bytes=int(gpu_gb * 1e9))
    assert "GPU memory, Phase 1" in verdicts(replace(TWO_CARDS, gpus=(card,)), need)


@pytest.mark.parametrize(
    ("profile", "workers", "cards", "gpu_gib"),
    [
        ("rtx3090x2", 2, 2, 24),
        ("single-24gb", 1, 1, 24),
        ("lora-16gb", 1, 1, 16),
        ("h100", 1, 1, 80),
    ],
)
def test_each_profile_fits_the_machine_that_it_is_named_after(
    profile, workers, cards, gpu_gib, project
):
    apply_profile(profile, project / "params.yaml", REPOSITORY / "profiles", dry_run=False)
    config = load_config()
    machine = replace(TWO_CARDS, gpus=(replace(CARD, total_bytes=gpu_gib * GIB),) * cards)
    for job in doctor._jobs(config):
        if job.recipe == "phase3":
            continue  # other models, of nearly the same size
        need = preflight.need_of(doctor.job_recipe(job, config), workers=workers, frames=None)
        assert verdicts(machine, need) == {}, job.label


def test_sixty_four_frames_at_once_are_an_error_on_a_card_that_holds_the_model():
    many = replace(FULL, batch_size=64, step=replace(PAIR, frames=64))
    assert verdicts(TWO_CARDS, many)["GPU memory, Phase 1"] == "error"


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 3},
        {"queries": 2},
        {"side_px": 1344},
        {"precision": "float32"},
        {"recompute": False},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("size", ["tiny", "published"])
def test_whatever_takes_more_memory_is_estimated_to(size, change):
    step = replace(PAIR, size=size, learns_to_see=True)
    blind = replace(step, learns_to_see=False)
    assert activation_bytes(replace(step, **change), 0) > 1.1 * activation_bytes(step, 0)
    assert activation_bytes(blind, 0) < activation_bytes(step, 0)


def test_the_main_memory_must_hold_what_each_worker_loads():
    about = "memory, Phase 1"
    # A model of 3.1 GiB a worker; a state of 9.4 GiB a worker where a training is resumed.
    assert verdicts(replace(TWO_CARDS, memory_bytes=6 * GIB), FULL) == {about: "error"}
    assert verdicts(replace(TWO_CARDS, memory_bytes=18 * GIB), FULL) == {about: "warning"}
    assert verdicts(replace(TWO_CARDS, memory_bytes=24 * GIB), FULL) == {}


def test_another_process_on_a_card_is_named():
    shared = replace(CARD, used_bytes=2 * GIB)
    assert verdicts(replace(TWO_CARDS, gpus=(CARD, shared)), FULL) == {"GPU 1": "warning"}


def test_more_workers_than_cards_are_an_error_and_fewer_a_warning():
    assert verdicts(TWO_CARDS, replace(FULL, workers=3)) == {"workers": "error"}
    assert verdicts(TWO_CARDS, replace(FULL, workers=1)) == {"workers": "warning"}


def test_a_tiny_model_with_too_few_cards_trains_on_the_processor_and_is_told_so():
    tiny = replace(
        FULL, parameters=10**6, trained=10**6, step=replace(PAIR, size="tiny", side_px=256)
    )
    one_card = replace(TWO_CARDS, gpus=(CARD,))
    (finding,) = (f for f in examine(one_card, [tiny]) if f.verdict != "good")
    assert (finding.about, finding.verdict) == ("workers", "warning")
    assert finding.found == "2 workers and 1 GPU: trains on the CPU."
    assert finding.fix == "Set train.workers to 1 to use the GPU."
    # What it needs is compared with the processor's memory then.
    assert verdicts(replace(one_card, memory_bytes=GIB // 8), tiny)["memory, Phase 1"] == "error"
    assert not any("GPU memory" in one.about for one in examine(one_card, [tiny]))
    assert verdicts(one_card, replace(tiny, workers=1)) == {}


def test_workers_of_two_machines_are_compared_with_the_cards_of_one():
    assert verdicts(TWO_CARDS, replace(FULL, workers=4, nodes=2)) == {}


def test_more_threads_than_cores_are_a_warning():
    tiny = replace(FULL, parameters=10**6, trained=10**6, threads=4)
    assert verdicts(CPU_ONLY, tiny) == {"workers": "warning"}


def test_workers_that_the_memory_cannot_hold_are_an_error_without_a_card():
    assert verdicts(replace(CPU_ONLY, memory_bytes=20 * GIB), FULL) == {"memory, Phase 1": "error"}


def test_a_data_set_smaller_than_a_step_is_an_error():
    few = replace(FULL, frames=Frames(count=3))
    assert verdicts(TWO_CARDS, few) == {"frames, Phase 1": "error"}
    assert verdicts(TWO_CARDS, replace(FULL, frames=Frames(count=4))) == {}
    assert verdicts(TWO_CARDS, replace(FULL, frames=None)) == {}


def test_shared_memory_must_hold_the_batches_that_are_prepared_ahead():
    # 2 workers × 2 processes × 2 batches × 2 frames × 3 channels × 4 bytes
    assert FULL.shared_bytes == 16 * 12 * 1008**2
    docker = replace(TWO_CARDS, shared_bytes=64 << 20)
    assert verdicts(docker, FULL) == {"shared memory": "error"}
    assert verdicts(docker, replace(FULL, loader_workers=0)) == {}
    assert verdicts(replace(TWO_CARDS, shared_bytes=None), FULL) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have it elsewhere")
def test_a_linux_without_shared_memory_has_none_for_loaders(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "shm")
    found = machine.this_machine(tmp_path)
    assert found.shared_bytes == 0
    assert verdicts(replace(TWO_CARDS, shared_bytes=0), FULL) == {"shared memory": "error"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nccl": False}, {"communication": "warning"}),
        ({"nccl": False, "system": "Windows AMD64"}, {}),
        ({"nccl": False, "gloo": False}, {"communication": "error"}),
        ({"triton": False}, {"Triton": "warning"}),
    ],
)
def test_what_a_card_needs_besides_itself(changes, expected):
    assert verdicts(replace(TWO_CARDS, **changes), FULL) == expected


def test_an_error_names_every_fault_and_how_to_mend_it():
    findings = examine(replace(TWO_CARDS, disk_bytes=GIB), [replace(FULL, workers=3)])
    with pytest.raises(ConfigError, match="Phase 1 cannot run on this machine") as error:
        preflight.require_none_wrong("Phase 1", findings)
    assert [fault.file for fault in error.value.faults] == ["disk, Phase 1", "workers"]
    assert all(fault.fix for fault in error.value.faults)


def test_warnings_are_told_and_stop_nothing(capsys):
    findings = examine(replace(TWO_CARDS, triton=False), [FULL])
    preflight.require_none_wrong("Phase 1", findings)
    preflight.tell_warnings(findings)
    assert capsys.readouterr().err.count("Warning") == 1


def test_the_table_has_a_row_a_finding():
    findings = examine(TWO_CARDS, [FULL])
    console = Console(width=200, record=True, quiet=True)
    assert preflight.finding_table(findings).row_count == len(findings)
    console.print(preflight.finding_table(findings))


def test_nothing_of_the_person_or_the_host_is_in_the_table(tmp_path):
    found = machine.this_machine(tmp_path / "runs" / "not made yet")
    text = repr(found).casefold()
    assert str(tmp_path).casefold() not in text
    assert Path.home().name.casefold() not in text
    assert found.disk_bytes > 0
    assert found.packages["sam3"]


def test_the_memory_in_use_is_read_card_by_card(monkeypatch):
    said = "GPU-aaaa, 512\nGPU-bbbb, 20480\nGPU-cccc, [N/A]\n"
    monkeypatch.setattr(machine, "_said", lambda *_: said)
    assert dict(machine._used_bytes()) == {"aaaa": GIB // 2, "bbbb": 20 * GIB}
    monkeypatch.setattr(machine, "_said", lambda *_: None)
    assert dict(machine._used_bytes()) == {}


@pytest.mark.parametrize("command", [("no-such-program",), ("false",)])
def test_a_program_that_is_missing_or_fails_says_nothing(command):
    assert machine._said(*command) is None


@pytest.fixture
def project(tmp_path, monkeypatch):
    write_dataset(tmp_path)
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights_finding(checkpoint: str) -> Finding:
    (finding,) = doctor._weights(checkpoint, doctor.job_recipe(TREE, load_config()))
    return finding


def write_weights(path: Path, side_px: int = SIDE_PX) -> None:
    save_weights(build.build_model(build.model_spec("tiny", side_px)), path)


def test_a_checkpoint_that_is_missing_cut_short_or_another_model_s_is_an_error(project):
    write_weights(project / "whole.pt")
    write_weights(project / "larger.pt", 2 * SIDE_PX)
    whole = (project / "whole.pt").read_bytes()
    (project / "cut.pt").write_bytes(whole[: len(whole) // 2])
    state = torch.load(project / "whole.pt")["model"]
    del state["dot_prod_scoring.hs_proj.bias"]
    torch.save({"model": state}, project / "other.pt")
    torch.save({"model": {}}, project / "empty.pt")
    assert weights_finding("none").verdict == "good"
    assert weights_finding("tiny").verdict == "good"
    assert weights_finding("whole.pt").verdict == "good"
    assert weights_finding("larger.pt").verdict == "good"  # as when it is loaded
    for name in ("cut.pt", "empty.pt", "missing.pt"):
        assert weights_finding(name).verdict == "error", name
    other = weights_finding("other.pt")
    assert (other.about, other.verdict) == ("weights, Phase 1", "error")
    assert other.found == (
        "other.pt does not fit the model (1 weights), such as dot_prod_scoring.hs_proj.bias: "
        "missing in the file."
    )
    assert "model.checkpoint" in other.fix


@pytest.mark.parametrize(("token", "verdict"), [(None, "error"), ("hf_x", "warning")])
def test_weights_that_are_not_downloaded_need_a_token(token, verdict, monkeypatch):
    monkeypatch.setattr(doctor, "stored_weights", lambda: None)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    assert weights_finding("hf").verdict == verdict


def test_the_need_is_counted_from_the_configuration(project):
    recipe = doctor.job_recipe(TREE, load_config())
    need = preflight.need_of(recipe, workers=2, frames=Frames(count=8))
    assert (need.label, need.batch_size, need.keeps_best) == ("Phase 1", 2, False)
    assert need.step == Step(
        size="tiny",
        side_px=SIDE_PX,
        frames=2,
        queries=1,
        precision="float32",
        recompute=False,
        learns_to_see=True,
    )
    assert 0 < need.trained < need.parameters  # the text encoder is frozen
    write_params(project, keep="best", freeze_vision=True, batch_size=4)
    set_train(project, parts=2)
    need = preflight.need_of(doctor.job_recipe(TREE, load_config()), workers=2, frames=None)
    assert (need.keeps_best, need.step.frames, need.step.learns_to_see) == (True, 2, False)


@pytest.mark.parametrize(
    ("section", "label", "named", "queries"),
    [
        ("train_phase1", "Phase 1", 3, 3),  # no phrase is denied
        ("train_phase2", "Phase 2", 3, 3 + 1 + 1 + 0 + 1),
        ("train_phase4", "Phase 4", 3, 6 + 1 + 1 + 0 + 1),
    ],
)
def test_the_phrases_of_a_frame_are_counted(project, section, label, named, queries):
    config = load_config()
    (job,) = (job for job in doctor._jobs(config) if job.label == label)
    frames = Frames(count=8, named=named)
    need = preflight.need_of(doctor.job_recipe(job, config), workers=1, frames=frames)
    assert need.step.queries == queries
    if section == "train_phase2":
        write_params(
            project, section=section, negatives={"policy": "none", "rivals_per_image": 0.5}
        )
        need = preflight.need_of(doctor.job_recipe(job, load_config()), workers=1, frames=frames)
        assert need.step.queries == 3 + 0 + 1 + 1 + 1


def test_the_segments_of_the_fullest_frame_are_counted():
    def mark(number, image, category):
        return Annotation(
            id=number,
            image_id=image,
            category_id=category,
            segmentation=Rle(size=(4, 4), counts="0"),
            bbox=(0, 0, 1, 1),
            area=1.0,
            noun_phrase="",
        )

    marks = [mark(1, 1, 12), mark(2, 1, 12), mark(3, 2, 12), mark(4, 2, 13), mark(5, 2, 100)]
    document = Document(images=(), annotations=tuple(marks), categories=())
    assert preflight.named_at_most(document) == 2
    assert preflight.named_at_most(Document(images=(), annotations=(), categories=())) == 1


def test_a_model_is_built_once_for_all_that_ask_for_its_shape(project, monkeypatch):
    preflight._shape.cache_clear()
    built = []
    build_model = build.build_model
    monkeypatch.setattr(
        build, "build_model", lambda *a, **o: built.append(a) or build_model(*a, **o)
    )
    doctor.diagnose(load_config(), CPU_ONLY, Path("dataset"))
    once = len(built)
    doctor.diagnose(load_config(), CPU_ONLY, Path("dataset"))
    assert 0 < once == len(built) <= 2  # Phases 2 and 4 freeze what Phase 1 does not


def test_frames_that_are_prepared_are_not_asked_for_again(project):
    def wanted():
        return doctor._frames(Path("dataset"), "vessel_tree", SIDE_PX).unprepared_bytes

    splits = {
        split: load_frames(Path("dataset"), split, "vessel_tree") for split in ("train", "val")
    }
    sizes = {split: prepared_bytes(frames.document, SIDE_PX) for split, frames in splits.items()}
    assert wanted() == sizes["train"] + sizes["val"] > 0
    prepare(splits["train"], SIDE_PX, Path("runs/prepared") / f"0123456789abcdef-{SIDE_PX}")
    assert wanted() == sizes["val"]
    (project / "runs/prepared" / f"of-another-{SIDE_PX}").mkdir()
    assert wanted() == sizes["val"]


def test_doctor_looks_at_every_phase_and_ends_well_where_all_is_well(project):
    result = CliRunner().invoke(cli._commands, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "8 to train on" in result.output
    for phase in range(1, 5):
        assert f"disk, Phase {phase}" in result.output


def test_doctor_ends_with_an_error_where_a_training_would(project):
    write_params(project, batch_size=100)
    (project / "dataset/train/segments").mkdir()
    (project / "dataset/train/segments/annotations.json").write_text("{}")
    result = CliRunner().invoke(cli._commands, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "Lower batch_size" in result.output
    assert "dvc repro split" in result.output
