"""Single-field corruptions of a small phantom: what share ``sam3-angio check`` finds.

``python benchmarks/corruptions.py [--count 520] [--seed 0]`` simulates two patients, then again and
again changes one field of the table, one value or one part of a contour file, one label, one
element of a run, or a whole column of angles, and checks the whole. It takes one core, and each
corruption, drawn from the seed and its number, is noted in ``--results`` as soon as it is judged:
the same command goes on where it was stopped. ``--fresh`` forgets what is there, as it must after
the check was changed.

A corruption is *found* if there is a finding that the clean set has not. What is not found is
*harmless* if all that the pipeline makes of the row is equal: its line of the manifest (but for
columns that nothing reads), the frame's pixels, view and spacing, the labels, the lesion and the
measurements. The rest is *missed*.

What a row alone gives is remembered as long as its fields and files stay the same; the check's own
code runs otherwise as it is.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydicom
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from sam3_angio.checking import data_set
from sam3_angio.checking.data_set import check_site
from sam3_angio.checking.finding import Notes
from sam3_angio.checking.label_set import LabelPaths, read_labels
from sam3_angio.checking.overlap import segment_coverage
from sam3_angio.checking.picture import picture_findings
from sam3_angio.dicom import read_frame
from sam3_angio.dicom.display import display_8bit
from sam3_angio.dicom.picture import PictureSettings, display_doubt, frame_picture
from sam3_angio.dicom.spacing import object_spacing
from sam3_angio.errors import DataError
from sam3_angio.extraction import PLAUSIBLE_PX_PER_MM
from sam3_angio.intake import survey
from sam3_angio.intake.paths import SitePaths, parse_mapping
from sam3_angio.intake.table import COLUMNS, read_site_table
from sam3_angio.label_mask import read_mask
from sam3_angio.lesion_labels import measured
from sam3_angio.manifest import fold_patient_id
from sam3_angio.medis import contour_polygon, read_contour
from sam3_angio.phantom.dataset import write_phantom

#: As the check stretches frames without a window.
PERCENTILES = (0.5, 99.5)
LABELS = {"pseudo-label": COLUMNS[8], "mask": COLUMNS[11]}


def times(name: str, factor: float) -> Callable[[pydicom.Dataset], float]:
    """Return what gives a multiple of a run's element, or of 100 where it has none."""
    return lambda run: round(factor * float(run.get(name) or 100), 3)


ELEMENTS: dict[str, tuple[Any, ...]] = {
    "NumberOfFrames": (1, 7, 500),
    "Rows": (256, 511, 1024),
    "Columns": (256, 513),
    "BitsStored": (6, 7, 12),
    "HighBit": (3, 11),
    "PixelRepresentation": (1,),
    "SamplesPerPixel": (3,),
    "PhotometricInterpretation": ("RGB", "PALETTE COLOR"),
    "Modality": ("CT", "US"),
    "PositionerPrimaryAngle": (None, -75, 5.5, 200),
    "PositionerSecondaryAngle": (None, 60, -3.5, 120),
    "ImagerPixelSpacing": ([0.9, 0.9], [0.3, 0.1], [0, 0]),
    "DistanceSourceToDetector": (0, 300, 5000),
    "DistanceSourceToPatient": (100, 5000, -4),
    "EstimatedRadiographicMagnificationFactor": (0.1, 3, 9),
    "WindowWidth": (0, -5, times("WindowWidth", 1 / 13), times("WindowWidth", 10)),
    "WindowCenter": (0, times("WindowCenter", 0.5), times("WindowCenter", 1.5)),
    "RescaleSlope": (2,),
    "RescaleIntercept": (times("WindowWidth", -0.46),),
    "PatientName": ("Other^Name",),
    "StudyDate": ("20200101",),
    "AccessionNumber": ("77",),
}


@dataclass(frozen=True, slots=True)
class Place:
    """The phantom's export."""

    export: Path

    @property
    def table(self) -> Path:
        """The site's table."""
        return self.export / "corrected_dataset_training.csv"

    @property
    def maps(self) -> list[str]:
        """Where its paths lead."""
        return [f"E:/{name}={self.export / name}" for name in ("Angios", "AngioMLDL_data")]

    def file(self, row: dict[str, str], column: str) -> Path:
        """Return the file that a row names."""
        return self.export / row[column].replace("\\", "/").removeprefix("E:/")

    def write(self, rows: list[dict[str, str]]) -> None:
        """Write the table."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[column] for column in COLUMNS] for row in rows)
        self.table.write_text(stream.getvalue(), encoding="utf-8")

    def findings(self) -> set[tuple[object, ...]]:
        """Check everything but the frames' pixels."""
        report = check_site(
            self.table,
            dicom_root=self.export / "Angios",
            primary_sign="RAO+",
            path_maps=self.maps,
            processes=1,
            decode=False,
        )
        return {astuple(one) for one in report.findings}


def remembered(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def call(*arguments: Any) -> Any:
        name = key(*arguments)
        if name not in known:
            known[name] = function(*arguments)
        return known[name]

    return call


def state(*paths: Path | None) -> tuple[object, ...]:
    stats = [path.stat() if path and path.exists() else None for path in paths]
    return tuple((stat.st_mtime_ns, stat.st_size) if stat else None for stat in stats)


def remember_rows() -> None:
    survey.run_facts = remembered(survey.run_facts, lambda path: (path, state(path)))
    survey.check_labels = remembered(
        survey.check_labels,
        lambda table, row, paths, shape: (row, paths, shape, state(*astuple(paths))),
    )
    data_set.load_case = remembered(
        data_set.load_case,
        lambda row: (row.row, row.paths, state(*astuple(row.paths))),
    )
    data_set.case_findings = remembered(data_set.case_findings, lambda table, case: case)


def product(place: Place, number: int) -> object:
    """Return all that the pipeline makes of a row; a text where it refuses the row."""
    site = read_site_table(place.table, "RAO+").rows[number]
    paths = SitePaths(map(parse_mapping, place.maps), base=place.export)
    run, tree = paths.find(site.dicom_path), paths.find(site.pseudo_label_path)
    outline, mask = paths.find(site.contour_path), paths.find(site.mask_path)
    if run is None:
        return "no run"
    frame = read_frame(run, site.frame_index, name="run")
    contour = read_contour(outline) if outline else None
    scale = contour.calibration.scale_px_per_mm if contour else None
    low, high = PLAUSIBLE_PX_PER_MM
    scale = scale if scale is not None and low <= scale <= high else None
    return repr(
        [
            fold_patient_id(site.patient_id),
            site.cass_segment,
            site.frame_index,
            run,
            frame.pixels.tobytes(),
            display_8bit(frame, *PERCENTILES).tobytes(),
            frame.view or (site.primary_deg, site.secondary_deg),
            object_spacing(frame.header.geometry, scale),
            contour_polygon(contour).tolist() if contour else None,
            contour.centerline.tolist() if contour else None,
            astuple(measured(contour, ("f", "p", site.cass_segment), 20)) if contour else None,
            *(
                np.packbits(read_mask(path).mask).tobytes() if path else None
                for path in (tree, mask)
            ),
        ]
    )


def changed_text(value: str, generator: random.Random) -> str:
    """Change one character of a field, or empty it."""
    place = generator.randrange(len(value)) if value else 0
    kind = generator.choice(("empty", "drop", "double", "replace", "swap", "sign"))
    if kind == "empty" or not value:
        return "" if value else "1"
    if kind == "drop":
        return value[:place] + value[place + 1 :]
    if kind == "double":
        return value[:place] + value[place] + value[place:]
    if kind == "swap" and place + 1 < len(value):
        return value[:place] + value[place + 1] + value[place] + value[place + 2 :]
    if kind == "sign":
        return value[1:] if value[0] == "-" else f"-{value}"
    return value[:place] + generator.choice("0123456789ABX") + value[place + 1 :]


def changed_number(value: float, generator: random.Random) -> object:
    changes = (-value, value * 10, value / 3, value + 25, 1 / value if value else 1, None, "x")
    return generator.choice(changes)


def changed_identifier(value: str, generator: random.Random) -> str:
    """Spell a patient otherwise, as another hand might."""
    words = value.split()
    return generator.choice(
        (
            words[-1],
            f"{value} (2)",
            " ".join(reversed(words)),
            value.replace("-", "/"),
            value.replace("0", "O"),
            value.replace("A", "\u0410"),
        )
    )


def narrowed(content: dict[str, Any]) -> None:
    """Move one edge inward by a quarter of the width."""
    own, other = np.array(content["left_edge"]), np.array(content["right_edge"])
    content["left_edge"] = ((3 * own + other) / 4).tolist()


#: Faults of whole parts of a contour; the name is that of the part.
PARTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "centerline half": lambda c: c.update(centerline=c["centerline"][: len(c["centerline"]) // 2]),
    "centerline missing": lambda c: c.update(centerline=None),
    "measurements missing": lambda c: c.update(measurements=None),
    "ideal edges missing": lambda c: c.update(ideal_left_edge=None, ideal_right_edge=[]),
    "edge narrowed": narrowed,
    "edge half": lambda c: c.update(left_edge=c["left_edge"][: len(c["left_edge"]) // 2]),
}


def corrupt_part(path: Path, generator: random.Random) -> str:
    content = json.loads(path.read_text())
    scaled = f"scale times {generator.choice((1 / 3, 3)):.2g}"
    name = generator.choice([*sorted(PARTS), scaled])
    if name in PARTS:
        PARTS[name](content)
    elif content.get("calibration"):
        content["calibration"]["scale_factor"] *= float(name.rsplit(" ", 1)[1])
    path.write_text(json.dumps(content))
    return f"part {name}"


def corrupt_rows(rows: list[dict[str, str]], number: int, generator: random.Random) -> str:
    """Change a column of all rows, or a field in a way that hides others; in place."""
    name = generator.choice(
        ("secondary signs", "angles exchanged", "line break", "spelling", "angles of one row")
    )
    row = rows[number]
    if name == "secondary signs":
        for one in rows:
            one["secondary_angle"] = changed_sign(one["secondary_angle"])
    elif name == "line break":
        column = generator.choice(COLUMNS)
        row[column] = f"{row[column][:2]}\n{row[column][2:]}"
    elif name == "spelling":
        row["patient_id"] = changed_identifier(row["patient_id"], generator)
    else:
        for one in rows if name == "angles exchanged" else [row]:
            one["primary_angle"], one["secondary_angle"] = (
                one["secondary_angle"],
                one["primary_angle"],
            )
    return f"rows {name}"


def changed_sign(value: str) -> str:
    return value[1:] if value.startswith("-") else f"-{value}"


def corrupt_contour(path: Path, generator: random.Random) -> str:
    content = json.loads(path.read_text())
    name = generator.choice(sorted(content))
    value = content[name]
    if isinstance(value, dict):
        inner = generator.choice(sorted(value))
        if isinstance(value[inner], list):
            value[inner] = [changed_number(value[inner][0], generator), value[inner][1]]
        else:
            value[inner] = changed_number(value[inner], generator)
        name = f"{name}.{inner}"
    elif isinstance(value, list):
        point = generator.choice(value)
        axis = generator.randrange(2)
        point[axis] = changed_number(point[axis], generator)
    elif isinstance(value, str):
        content[name] = generator.choice(("", "Mid RCA", "Distal LAD", None))
    else:
        content[name] = generator.choice((value + 1, value - 1, None, 900))
    path.write_text(json.dumps(content))
    return f"contour {name}"


def corrupt_label(path: Path, kind: str, others: list[Path], generator: random.Random) -> str:
    pixels = read_mask(path).mask.astype(np.uint8)
    shift = generator.choice((-9, -4, -2, 2, 4, 9))
    far = generator.choice((-100, -60, -40, 40, 60, 100))
    other = generator.choice(others)
    changes: dict[str, Callable[[], np.ndarray]] = {
        "mirrored": lambda: np.fliplr(pixels),
        "upside down": lambda: np.flipud(pixels),
        "turned": lambda: np.rot90(pixels),
        "shifted": lambda: np.roll(pixels, shift, generator.randrange(2)),
        "shifted far": lambda: np.roll(pixels, far, generator.randrange(2)),
        "of another patient": lambda: read_mask(other).mask.astype(np.uint8),
        "inverted": lambda: 1 - pixels,
        "empty": lambda: np.zeros_like(pixels),
        "full": lambda: np.ones_like(pixels),
        "0 and 255": lambda: pixels * 255,
        "other values": lambda: pixels * 9,
        "RGB": lambda: np.stack([pixels] * 3, axis=2),
        "other size": lambda: pixels[:-3],
    }
    name = generator.choice(sorted(changes))
    Image.fromarray(np.ascontiguousarray(changes[name]())).save(path, "PNG")
    return f"{kind} {name}"


def corrupt_run(path: Path, generator: random.Random) -> str:
    name = generator.choice(sorted(ELEMENTS))
    run = pydicom.dcmread(path)
    value = generator.choice(ELEMENTS[name])
    if value is None:
        delattr(run, name)
    else:
        setattr(run, name, value(run) if callable(value) else value)
    run.save_as(path)
    return f"run {name}"


def corrupt(
    place: Place, rows: list[dict[str, str]], number: int, generator: random.Random
) -> tuple[str, Path | None]:
    """Change one thing of a row; return what, and the file to put back."""
    kind = generator.choice(
        ("table", "table", "rows", "contour", "contour", "part", "label", "label", "run")
    )
    if kind in ("table", "rows"):
        changed = [dict(row) for row in rows]
        if kind == "rows":
            name = corrupt_rows(changed, number, generator)
        else:
            column = generator.choice(COLUMNS)
            changed[number][column] = changed_text(rows[number][column], generator)
            name = f"table {column}"
        place.write(changed)
        return name, None
    column = {"contour": COLUMNS[10], "part": COLUMNS[10], "run": COLUMNS[9]}.get(kind, "")
    label = generator.choice([name for name in sorted(LABELS) if rows[number][LABELS[name]]])
    path = place.file(rows[number], column or LABELS[label])
    if kind == "contour":
        return corrupt_contour(path, generator), path
    if kind == "part":
        return corrupt_part(path, generator), path
    if kind == "label":
        others = [
            place.file(row, LABELS[label])
            for row in rows
            if row[LABELS[label]]
            and fold_patient_id(row["patient_id"]) != fold_patient_id(rows[number]["patient_id"])
        ]
        return corrupt_label(path, label, others, generator), path
    return corrupt_run(path, generator), path


def outcome(place: Place, number: int, clean: set[tuple[object, ...]], before: object) -> str:
    if place.findings() - clean:
        return "found"
    try:
        if product(place, number) == before:
            return "harmless"
    except DataError:
        return "found"  # by decoding the frame, as the check does unless told not to
    return "found" if picture_finding(place, number) else "missed"


def picture_finding(place: Place, number: int) -> bool:
    """Look at a row's frame, and its pseudo-label, as the check does unless told not to decode."""
    site = read_site_table(place.table, "RAO+").rows[number]
    paths = SitePaths(map(parse_mapping, place.maps), base=place.export)
    run, tree = paths.find(site.dicom_path), paths.find(site.pseudo_label_path)
    notes = Notes(file="table", row=number)
    if run is None:
        return False
    frame = read_frame(run, site.frame_index, name="run")
    settings = PictureSettings(percentile_low=PERCENTILES[0], percentile_high=PERCENTILES[1])
    try:
        picture = frame_picture(run, frame, settings, name="run").picture
    except DataError:
        return True
    if tree:
        files = LabelPaths(contour=paths.find(site.contour_path), mask=None, tree=tree)
        covered = segment_coverage(read_labels(files, picture.shape))
        picture_findings(picture, read_mask(tree).mask, notes, covered=covered)
    return bool(notes.findings or display_doubt(frame, settings))


def judged(
    place: Place,
    rows: list[dict[str, str]],
    number: int,
    draw: random.Random,
    clean: set[tuple[object, ...]],
    before: object,
) -> tuple[str, str]:
    """Corrupt a row, check, put back; return what was changed and the outcome."""
    paths = [place.file(rows[number], column) for column in COLUMNS[8:]]
    kept = {path: (path.read_bytes(), path.stat()) for path in paths if path.is_file()}
    kind, changed = corrupt(place, rows, number, draw)
    result = outcome(place, number, clean, before)
    place.write(rows)
    if changed is not None:
        content, stat = kept[changed]
        changed.write_bytes(content)
        os.utime(changed, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    return kind, result


def run(count: int, seed: int, results: Path) -> None:
    """Judge the corruptions that are not in the file of results yet, and add them to it."""
    done = {(int(row["seed"]), int(row["number"])) for row in read(results)}
    remember_rows()
    with tempfile.TemporaryDirectory() as folder, results.open("a", encoding="utf-8") as stream:
        write_phantom(Path(folder) / "data", patients=2, processes=1)
        place = Place(Path(folder) / "data" / "export")
        rows = list(csv.DictReader(io.StringIO(place.table.read_text())))
        clean = place.findings()
        before = [product(place, number) for number in range(len(rows))]
        for number in range(count):
            if (seed, number) in done:
                continue
            draw = random.Random(f"{seed} {number}")
            row = draw.randrange(len(rows) - 1)
            kind, result = judged(place, rows, row, draw, clean, before[row])
            stream.write(f"{seed},{number},{kind},{result}\n")
            stream.flush()
            if number % 20 == 0:
                print(f"{number} of {count}", flush=True)


def read(results: Path) -> list[dict[str, str]]:
    with results.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def report(rows: list[dict[str, str]]) -> None:
    """Print the rates, and what was missed."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        outcomes[row["kind"].split()[0]][row["result"]] += 1
    outcomes["all"] = sum(outcomes.values(), Counter())
    table = Table("corruption of", "n", "found", "harmless", "missed", "found or harmless")
    for kind, counts in outcomes.items():
        numbers = (counts.total(), counts["found"], counts["harmless"], counts["missed"])
        rate = 100 * (1 - counts["missed"] / max(counts.total(), 1))
        table.add_row(kind, *map(str, numbers), f"{rate:.1f} %")
    Console().print(table)
    missed = Counter(row["kind"] for row in rows if row["result"] == "missed")
    for kind, often in missed.most_common():
        Console().print(f"missed: {kind} × {often}", highlight=False)


def main(
    count: Annotated[int, typer.Option(help="Corruptions.")] = 520,
    seed: Annotated[int, typer.Option(help="Of the corruptions.")] = 0,
    results: Annotated[Path, typer.Option(help="File of results.")] = Path(
        "outputs/corruptions.csv"
    ),
    fresh: Annotated[bool, typer.Option(help="Forget earlier results.")] = False,
) -> None:
    """Corrupt, check, put back; print the rates."""
    if hasattr(os, "sched_setaffinity"):  # numpy's threads, too, keep to one core
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    results.parent.mkdir(parents=True, exist_ok=True)
    if fresh or not results.exists():
        results.write_text("seed,number,kind,result\n", encoding="utf-8")
    run(count, seed, results)
    report([r for r in read(results) if int(r["seed"]) == seed and int(r["number"]) < count])


if __name__ == "__main__":
    typer.run(main)
