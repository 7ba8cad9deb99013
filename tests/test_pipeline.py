"""The pipeline end to end, from a clone, on a miniature: real training, real masks.

One clone serves all tests of this module, in the order in which a user would do these things.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from highdicom.seg import segread
from pycocotools import mask as rle
from pycocotools.coco import COCO
from ruamel.yaml import YAML

from sam3_angio.disclosure import spellings, unpacked
from sam3_angio.phantom.identity import planted_dates, planted_names

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[1]
PATIENTS, SEED = 5, 11
STAGES = (
    "extract", "convert", "split", "train_phase1", "train_phase2", "train_phase3", "train_phase4",
    "train_baseline", "evaluate",
)  # fmt: skip


class Clone:
    """A clone of the repository in a folder whose name has a space."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a clone"
        subprocess.run(
            ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(self.path)], check=True
        )
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
            "USE_LIBUV": "0",
        }

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the clone and return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done.stdout

    def set_parameters(self, **values: object) -> None:
        """Set ``section__key`` in params.yaml, keeping its comments."""
        yaml = YAML()
        yaml.preserve_quotes = True
        path = self.path / "params.yaml"
        content = yaml.load(path.read_text(encoding="utf-8"))
        for name, value in values.items():
            section, key = name.split("__")
            assert key in content[section], name
            content[section][key] = value
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yaml.dump(content, stream)

    def metrics(self) -> dict:
        return json.loads((self.path / "metrics/phase1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    made = Clone(tmp_path_factory.mktemp("pipeline"))
    made.start = made.run("git", "rev-parse", "HEAD").strip()
    made.run("python", "-m", "sam3_angio", "phantom", "--out", "data",
             "--patients", str(PATIENTS), "--seed", str(SEED))  # fmt: skip
    made.set_parameters(
        train_phase1__epochs=10,
        train_phase1__val_every=5,
        train_phase2__epochs=2,
        train_phase3__epochs=1,
        train_phase3__arms=["none", "exemplar"],
        train_phase4__epochs=1,
        train_baseline__epochs=2,
        evaluate__bootstrap_samples=200,
        machine__processes=1,  # so few frames are done before another process has started
        split__val_fraction=0.4,
        split__seed=5,  # three patients train, two validate
    )
    made.output = made.run("dvc", "repro")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "Miniature")
    return made


def test_every_stage_runs_and_dvc_records_it(clone):
    for stage in STAGES:
        assert f"Running stage '{stage}'" in clone.output
    assert clone.run("dvc", "status") == "Data and pipelines are up to date.\n"


def test_git_sees_only_small_files(clone):
    names = clone.run("git", "ls-files").splitlines()
    (weights,) = (name for name in names if name.endswith((".dcm", ".pt", ".npy")))
    assert weights == "sam3_angio/detector/weights/tiny.pt"  # the package's own
    assert not [n for n in names if n.startswith(("data/", "dataset/", "frames/", "models/"))]
    for name in set(names) - {weights}:
        assert (clone.path / name).stat().st_size < 1_000_000, name


def test_training_lowers_the_loss(clone):
    curve = pd.read_csv(clone.path / "metrics/phase1/plots/metrics/train/loss.tsv", sep="\t")
    losses = curve.iloc[:, -1].to_numpy(float)
    third = max(1, len(losses) // 3)
    assert np.isfinite(losses).all()
    assert losses[-third:].mean() < losses[:third].mean()


def test_the_documents_load_with_pycocotools_and_no_patient_is_in_two_splits(clone):
    patients = {}
    for split in ("train", "val"):
        for task in ("vessel_tree", "segments"):
            document = COCO(str(clone.path / "dataset" / split / task / "annotations.json"))
            assert document.getImgIds()
            patients.setdefault(split, set()).update(i["patient"] for i in document.imgs.values())
    assert patients["train"]
    assert not patients["train"] & patients["val"]


def test_predicted_masks_have_the_frames_size_and_are_no_constant(clone):
    document = COCO(str(clone.path / "dataset/val/vessel_tree/annotations.json"))
    results = json.loads((clone.path / "predictions/phase1/results.json").read_text())
    assert {r["image_id"] for r in results} == set(document.getImgIds())
    areas = []
    for result in results:
        image = document.imgs[result["image_id"]]
        mask = rle.decode(result["segmentation"])
        assert mask.shape == (image["height"], image["width"])
        assert 0 <= result["score"] <= 1
        areas.append(mask.mean())
    assert 0 < np.mean(areas) < 1


def test_every_frame_is_asked_for_each_analysed_segment_and_each_wrong_phrase(clone):
    document = COCO(str(clone.path / "dataset/val/segments/annotations.json"))
    queries = pd.read_json(clone.path / "predictions/phase2/queries.json")
    assert set(queries["image_id"]) == set(document.getImgIds())
    asked = queries.groupby("image_id")["category_id"].agg(lambda ids: tuple(sorted(ids)))
    assert set(asked) == {(0, 0, 0, 1, 2, 3, 4, 12, 13, 14, 15, 16, 18, 19, 20, 21, 28)}
    assert queries["presence"].between(0, 1).all()


def test_the_metrics_carry_value_interval_and_number(clone):
    dice = clone.metrics()["dice"]
    for truth in ("truth", "pseudo"):
        assert 0 <= dice[truth]["low"] <= dice[truth]["mean"] <= dice[truth]["high"] <= 1
        assert dice[truth]["n"] > 0


def test_the_analysis_of_a_whole_run_has_the_dice_of_the_evaluation_and_names_nobody(clone):
    scores = pd.read_csv(clone.path / "metrics/phase1_frames.csv", index_col="frame_id")
    manifest = pd.read_csv(clone.path / "data/manifest.csv", index_col="frame_id")
    frame = scores["dice_pseudo"].idxmax()
    row = manifest.loc[frame]
    out = clone.path.parent / "analysed"  # beside the clone: Git sees none of it
    run = clone.path / "data/export/Angios" / row["dicom"]
    said = clone.run(
        "python", "-m", "sam3_angio", "analyze", str(run),
        "--frame", str(row["frame_index"]), "--out", str(out), "--device", "cpu",
    )  # fmt: skip
    (folder,) = out.iterdir()
    document = COCO(str(clone.path / "dataset/val/vessel_tree/annotations.json"))
    (image,) = (i for i in document.imgs.values() if i["frame_id"] == frame)
    (mark,) = document.imgToAnns[image["id"]]
    label = rle.decode(mark["segmentation"]).astype(bool)
    tree = segread(folder / "segmentation.dcm").pixel_array.reshape(-1, *label.shape)[0] > 0
    dice = 2 * np.count_nonzero(tree & label) / (tree.sum() + label.sum())
    assert dice == pytest.approx(scores.loc[frame, "dice_pseudo"], abs=1e-4)
    for path in folder.iterdir():
        assert not _leaks(path.read_bytes() + folder.name.encode()), path.name
    assert not _leaks(said.encode())


def test_a_second_repro_runs_nothing(clone):
    output = clone.run("dvc", "repro")
    assert "Running stage" not in output
    assert clone.run("git", "status", "--porcelain") == ""


def test_an_edited_metric_reruns_evaluate_alone(clone):
    path = clone.path / "sam3_angio/scoring/masks.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    output = clone.run("dvc", "repro", "--dry")
    clone.run("git", "checkout", "--quiet", "--", ".")
    assert re.findall(r"Running stage '(\w+)'", output) == ["evaluate"]


def test_a_changed_split_keeps_the_frames(clone):
    output = clone.run("dvc", "status", "--json")
    assert json.loads(output) == {}
    clone.set_parameters(split__seed=1)
    output = clone.run("dvc", "repro", "--dry")
    clone.run("git", "checkout", "--quiet", "--", ".")
    assert "Running stage 'split'" in output
    assert "Running stage 'extract'" not in output
    assert "Running stage 'convert'" not in output


def test_an_experiment_changes_a_parameter_and_its_metrics_compare_with_the_branch(clone):
    clone.run("dvc", "exp", "run", "--set-param", "evaluate.tree_from=best")
    changed = clone.run("git", "diff", "--unified=0", "--", "params.yaml")
    assert re.findall(r"^\+ +(\w+: \w+)", changed, re.MULTILINE) == ["tree_from: best"]
    table = clone.run("dvc", "metrics", "diff", "HEAD", "--md")
    assert "tree_dice" in table
    shown = clone.run("dvc", "exp", "show", "--md")
    assert "evaluate.tree_from" in shown
    clone.run("git", "checkout", "--quiet", "--", ".")
    clone.run("dvc", "checkout", "--quiet")


@pytest.mark.slow  # five minutes
def test_a_queued_sweep_runs_each_value(clone):
    clone.run("dvc", "exp", "run", "--queue", "--set-param", "evaluate.score_threshold=0.3,0.7")
    clone.run("dvc", "queue", "start", "--jobs", "1")
    status = ""
    for _ in range(60):
        status = clone.run("dvc", "queue", "status")
        if "Queued" not in status and "Running" not in status:
            break
        subprocess.run(["sleep", "3"], check=True)
    assert status.count("Success") == 2, status


NAMES = spellings(planted_names(SEED, PATIENTS))


def _leaks(content: bytes) -> list[str]:
    found = [f"a name in part {k}" for k, p in enumerate(unpacked(content)) if NAMES.are_in(p)]
    days = [day for day in planted_dates(SEED, PATIENTS) if day.encode() in content]
    if not days:
        return found
    # Eight digits of a longer number are no date.
    text = re.findall(rb"(?<![\d.])\d{8}(?!\d)", content)
    return found + [day for day in days if day.encode() in text]


def test_a_leak_would_be_found(clone):
    runs = list((clone.path / "data/export").rglob("*.dcm"))
    assert all(len(_leaks(path.read_bytes())) > 2 for path in runs)  # a name, two dates


def test_nothing_personal_leaves_the_data_folder(clone):
    folders = ["frames", "converted", "dataset", "models", "predictions", "metrics", "report"]
    folders += ["runs", "checks", ".dvc/tmp"]
    files = [p for name in folders for p in (clone.path / name).rglob("*")]
    files = [path for path in files if "exps" not in path.parts]  # checkouts, with the data
    written = clone.run("git", "diff", "--name-only", "HEAD~1").splitlines()
    assert "dvc.lock" in written
    files = [path for path in (*files, *(clone.path / n for n in written)) if path.is_file()]
    assert len(files) > 100
    for path in files:
        name = str(path.relative_to(clone.path))
        assert not _leaks(path.read_bytes() + name.encode()), name


def _git(clone, *arguments: str) -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=clone.path, check=True, capture_output=True
    ).stdout


def test_nothing_personal_is_in_the_history(clone):
    known = ("--not", clone.start, "--remotes")  # what it was cloned from
    listed = _git(clone, "rev-list", "--objects", "--all", *known).decode()
    objects = [line.split(" ", 1) for line in listed.splitlines()]
    assert len(objects) > 4  # commits, folders, files; those of experiments, too
    for digest, *path in objects:
        kind = _git(clone, "cat-file", "-t", digest).decode().strip()
        content = _git(clone, "cat-file", kind, digest)
        assert not _leaks(content + "".join(path).encode()), (kind, *path)


def test_nothing_personal_is_in_the_cache_but_the_data_themselves(clone):
    cache = clone.path / ".dvc/cache/files/md5"
    if not cache.is_dir():
        pytest.skip("no cache of its own")
    listing = YAML(typ="safe").load((clone.path / "data.dvc").read_text())["outs"][0]["md5"]
    own = {listing}
    if (cache / listing[:2] / listing[2:]).exists():
        entries = json.loads((cache / listing[:2] / listing[2:]).read_bytes())
        own |= {entry["md5"] for entry in entries}
    others = [p for p in cache.glob("*/*") if f"{p.parent.name}{p.name}" not in own]
    assert len(others) > 20
    for path in others:
        assert not _leaks(path.read_bytes()), path.name


@pytest.mark.slow  # three patients of it: tests/test_phantom_dataset.py
def test_the_committed_data_are_what_the_generator_writes(tmp_path):
    fresh = Clone(tmp_path)
    fresh.run("python", "-m", "sam3_angio", "phantom", "--out", "data")
    # "modified" if a byte differed
    status = json.loads(fresh.run("dvc", "status", "--json", "data.dvc"))
    assert status == {"data.dvc": [{"changed outs": {"data": "not in cache"}}]}
