"""Before a training: what cannot come to its end is refused, and said in one table."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import SIDE_PX, write_dataset, write_params  # noqa: E402
from rich.console import Console  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from sam3_angio import cli  # noqa: E402
from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector import doctor, machine, preflight  # noqa: E402
from sam3_angio.detector.machine import Gpu, Machine  # noqa: E402
from sam3_angio.detector.preflight import Finding, Need, examine  # noqa: E402
from sam3_angio.detector.training import TREE  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402

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
#: All 840 million numbers of the published model, trained with Adam.
FULL = Need(
    label="Phase 1",
    workers=2,
    nodes=1,
    threads=2,
    loader_workers=2,
    batch_size=2,
    frames=1000,
    side_px=1008,
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


def test_a_model_that_a_card_cannot_hold_is_an_error_and_a_narrow_fit_a_warning():
    small, narrow = replace(CARD, total_bytes=12 * GIB), replace(CARD, total_bytes=14 * GIB)
    about = "GPU memory, Phase 1"
    assert verdicts(replace(TWO_CARDS, gpus=(CARD, small)), FULL) == {about: "error"}
    assert verdicts(replace(TWO_CARDS, gpus=(CARD, narrow)), FULL) == {about: "warning"}


def test_another_process_on_a_card_is_named():
    shared = replace(CARD, used_bytes=5 * GIB)
    assert verdicts(replace(TWO_CARDS, gpus=(CARD, shared)), FULL) == {"GPU 1": "warning"}


def test_more_workers_than_cards_are_an_error_and_fewer_a_warning():
    assert verdicts(TWO_CARDS, replace(FULL, workers=3)) == {"workers": "error"}
    assert verdicts(TWO_CARDS, replace(FULL, workers=1)) == {"workers": "warning"}


def test_workers_of_two_machines_are_compared_with_the_cards_of_one():
    assert verdicts(TWO_CARDS, replace(FULL, workers=4, nodes=2)) == {}


def test_more_threads_than_cores_are_a_warning():
    tiny = replace(FULL, parameters=10**6, trained=10**6, threads=4)
    assert verdicts(CPU_ONLY, tiny) == {"workers": "warning"}


def test_workers_that_the_memory_cannot_hold_are_an_error_without_a_card():
    assert verdicts(replace(CPU_ONLY, memory_bytes=20 * GIB), FULL) == {"memory, Phase 1": "error"}


def test_a_data_set_smaller_than_a_step_is_an_error():
    assert verdicts(TWO_CARDS, replace(FULL, frames=3)) == {"frames, Phase 1": "error"}
    assert verdicts(TWO_CARDS, replace(FULL, frames=4)) == {}
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
    (finding,) = doctor._weights(checkpoint)
    return finding


def test_a_checkpoint_that_is_missing_or_cut_short_is_an_error(project):
    with zipfile.ZipFile(project / "whole.pt", "w") as file:
        file.writestr("data", bytes(1000))
    (project / "cut.pt").write_bytes((project / "whole.pt").read_bytes()[:500])
    assert weights_finding("none").verdict == "good"
    assert weights_finding("whole.pt").verdict == "good"
    assert weights_finding("cut.pt").verdict == "error"
    assert weights_finding("missing.pt").verdict == "error"


@pytest.mark.parametrize(("token", "verdict"), [(None, "error"), ("hf_x", "warning")])
def test_weights_that_are_not_downloaded_need_a_token(token, verdict, monkeypatch):
    monkeypatch.setattr(doctor, "stored_weights", lambda: None)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    assert weights_finding("hf").verdict == verdict


def test_the_need_is_counted_from_the_configuration(project):
    recipe = doctor.job_recipe(TREE, load_config())
    need = preflight.need_of(recipe, workers=2, frames=8)
    assert (need.label, need.side_px, need.batch_size) == ("Phase 1", SIDE_PX, 2)
    assert 0 < need.trained < need.parameters  # the text encoder is frozen


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
