"""The page of the report: one file, nothing from outside, nothing personal, usable by everyone."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3_angio.config import load_config
from sam3_angio.errors import AngioError
from sam3_angio.report import page as page_module
from sam3_angio.report.charts import IntervalRow, Label, draw_confusion, draw_intervals, draw_lines
from sam3_angio.report.checklist import BLANK, fill_checklist, read_items
from sam3_angio.report.composition import CountTable
from sam3_angio.report.gallery import PictureGroup, make_picture
from sam3_angio.report.page import PageContent, draw_charts, render_page
from sam3_angio.report.page_charts import Chart
from sam3_angio.report.page_figures import arm_rows, result_rows
from sam3_angio.report.provenance import ModelRecord, Provenance, code_version, parameter_rows

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>alert('Gerda')</script>"
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "google-chrome")) if p), None)


def figure(mean, low=0.1, high=0.9, n=8):
    return {"mean": mean, "low": low, "high": high, "n": n}


DOCUMENTS = {
    "phase1": {
        "dice": {"truth": figure(0.8), "pseudo": figure(0.75)},
        "hd95_mm": {"truth": figure(None, None, None, 0)},
        "count": {"frames": 8, "patients": 4},
        "confidence": 0.95,
    }
}
COMPOSITION = (
    CountTable(title="Total", rows=(("Patients", (12, 4)), ("Frames", (30, 8)))),
    CountTable(title="Artery", rows=(("LCA", (20, 6)), ("RCA", (10, 2)))),
    CountTable(title="View", rows=(("LAO", (30, 8)),)),
    CountTable(title="Transfer syntax", rows=((HOSTILE, (30, 8)),)),
)


def drawn_picture(caption="LCA, LAO: Dice 0.800 against the truth"):
    frame = np.full((64, 64), 128, dtype=np.uint8)
    reference, prediction = np.zeros((2, 64, 64), dtype=bool)
    reference[10:20, 10:50] = True
    prediction[12:22, 10:50] = True
    name = "p0000000001-00000001"
    return make_picture(frame, reference, prediction, frame_id=name, caption=caption)


def drawn_charts():
    points = np.arange(3.0), np.arange(3.0)
    lines = draw_lines({"a": points, "b": points}, Label(name="one", text="Lines", x="x", y="y"))
    rows = [IntervalRow(group="LCA", n=3, mean=0.5, low=float("nan"), high=float("nan"))]
    forest = draw_intervals(rows, Label(name="two", text="Intervals", x="Dice"), line=0)
    return (
        Chart(title="Lines", svg=lines, note="Two lines."),
        Chart(title="Intervals", svg=forest, note="One.", wide=True),
    )


@pytest.fixture(scope="module")
def content():
    model = ModelRecord(
        phase="Phase 1",
        device="cpu",
        workers=2,
        steps=10,
        parameters=1000,
        parameters_trained=900,
        minutes=1.5,
        sha256="0123456789ab",
        versions="torch 2.15.0",
    )
    origin = Provenance(
        code="0123456789ab",
        versions={"Python": "3.11.7"},
        parameters=(("train.seed", "123"), ("prompts.wrong", HOSTILE)),
        models=(model,),
    )
    groups = (PictureGroup(title="Best", pictures=(drawn_picture(), drawn_picture(HOSTILE))),)
    charts = dict.fromkeys(("tree", "names", "view", "lesions"), ())
    return PageContent(
        documents=DOCUMENTS,
        charts=charts | {"curves": drawn_charts()},
        gallery=groups,
        composition=COMPOSITION,
        provenance=origin,
    )


@pytest.fixture(scope="module")
def html(content):
    return render_page(content)


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_loads_nothing_and_runs_nothing(html):
    elements = Elements(html)
    for tag, attributes in elements.found:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "poster", "action"):
                assert re.match(r"#|data:", value), (tag, name)
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_the_policy_forbids_what_the_page_does_not_need(html):
    policy = next(m["content"] for m in Elements(html).all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in policy


def test_data_are_escaped(html):
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 3


def test_every_id_is_used_once_and_every_link_within_the_page_has_its_target(html):
    elements = Elements(html)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for _, a in elements.found if a.get("href", "").startswith("#")]
    targets += [label["for"] for label in elements.all("label")]
    targets += re.findall(r"url\(#([^)]+)\)", html)
    assert set(targets) <= set(ids)


def test_pictures_charts_switches_and_tables_say_what_they_are(html):
    elements = Elements(html)
    assert all("alt" in image for image in elements.all("img"))
    assert all(svg["aria-label"] and svg["role"] == "img" for svg in elements.all("svg"))
    labelled = {label["for"] for label in elements.all("label")}
    assert {box["id"] for box in elements.all("input")} == labelled
    assert all("scope" in cell for cell in elements.all("th"))
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_research_use_only_is_said_at_both_ends(html):
    assert html.count("Research use only. Not a medical device.") == 2


def test_a_section_without_data_is_left_out_with_its_link(html):
    assert 'href="#curves"' in html
    for name in ("tree", "view", "lesions"):
        assert f'href="#{name}"' not in html
        assert f'id="{name}"' not in html


def test_the_result_table_has_value_interval_number_and_reference():
    (group,) = result_rows(DOCUMENTS)
    rows = {(row.title, row.against): row for row in group.rows}
    imitation = rows["Dice", "the pseudo-label"]
    assert (imitation.value, imitation.interval, imitation.n) == ("0.750", "0.100 to 0.900", "8")
    assert imitation.reference.startswith("0.80, custom training")
    undefined = rows["HD95, mm", "the truth"]
    assert (undefined.value, undefined.interval) == ("–", "")


def test_a_baseline_stands_beside_phase_1_where_it_was_scored():
    baseline = {
        "dice": {"truth": figure(0.7)},
        "phase1_less_baseline": {"dice": {"truth": figure(0.05)}},
    }
    groups = result_rows(DOCUMENTS | {"baseline": baseline})
    assert [group.title for group in groups] == [
        "Phase 1: vessel tree",
        "Baseline: U-Net on the same frames",
    ]
    assert [(row.title, row.value) for row in groups[1].rows] == [
        ("Dice", "0.700"),
        ("Phase 1 less U-Net, paired: Dice", "0.050"),
    ]


def test_severity_false_stenoses_and_the_lesion_prompt_s_controls_are_rows_with_their_number():
    metrics = ROOT / "metrics"
    document = json.loads((metrics / "phase4.json").read_text(encoding="utf-8"))
    document["lesion_iou"] = {
        "prompt": {"mean": figure(0.11), "median": figure(0.08)},
        "prompt_less_segment": {"mean": figure(-0.03, -0.07, 0.01)},
    }
    (group,) = result_rows({"phase4": document})
    rows = {(row.title, row.against): row for row in group.rows}
    for limit in (50, 70):
        row = rows[f"%DS, points: κ of {limit} % or more", "the truth"]
        kappa = document["stenosis_pct"]["truth"][f"kappa{limit}"]
        assert (row.value, row.n) == (f"{kappa['mean']:.3f}", str(kappa["n"]))
    title = "Measured at 50 % or more where there is no lesion"
    for origin, against in (
        ("from_prediction", "no lesion, under predicted masks"),
        ("from_truth_mask", "no lesion, of true masks"),
    ):
        rate = document["false_stenosis_pct"][origin]["rate50"]
        row = rows[title, against]
        assert (row.value, row.n) == (f"{rate['mean']:.3f}", str(rate["n"]))
        assert row.interval == f"{rate['low']:.3f} to {rate['high']:.3f}"
    title = "IoU with the expert's lesion: the lesion's prompt less the segment's phrase, paired"
    assert rows[title, "the expert"].value == "-0.030"


def test_what_an_arm_s_difference_must_exceed_is_in_its_row():
    named = figure(0.01, -0.04, 0.06) | {"detectable": 0.133, "declarable": 0.096}
    own = {key: {"annotated": figure(0.7)} for key in ("top1", "macro_f1", "dice")}
    document = {
        "arms": dict.fromkeys(("none", "text"), own | {"cgf1": {}}),
        "difference": {"text": {"none": {"top1": {"annotated": named}}}},
        "mcnemar": {"text": {"none": {"holm_p": 1.0}}},
    }
    none, text = arm_rows(document)
    assert none.limits == ("", "")
    assert text.limits == ("0.096", "0.133")
    named["declarable"] = named["detectable"] = None
    assert arm_rows(document)[1].limits == ("–", "–")


def test_too_large_a_page_is_refused_with_what_to_do(content, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_BYTES", 1000)
    with pytest.raises(AngioError, match="Lower evaluate.overlays"):
        render_page(content)


# ---- charts --------------------------------------------------------------------------------------


def test_equal_charts_are_equal_bytes_and_follow_the_pages_colours():
    first, second = drawn_charts(), drawn_charts()
    assert [chart.svg for chart in first] == [chart.svg for chart in second]
    svg = str(first[0].svg)
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    colours = {c.lower() for c in re.findall(r"(?:fill|stroke): (#[0-9a-fA-F]{3,6})", svg)}
    assert colours <= {"#ffffff", "#000000"}


def test_a_confusion_matrix_writes_every_count():
    counts = np.array([[4, 0, 1], [0, 17, 0]])
    svg = draw_confusion(counts, ("a", "b", "absent"), Label(name="c", text="Confusion"))
    shown = re.findall(r">(\d+)</text>", str(svg))
    assert sorted(shown, key=int) == ["1", "4", "17"]


def test_charts_are_left_out_where_their_tables_are_missing(tmp_path):
    assert not any(draw_charts(tmp_path, tmp_path, {}).values())


def test_the_epochs_of_a_curve_count_from_one(tmp_path):
    path = tmp_path / "phase1" / "plots" / "metrics" / "val" / "dice_semantic.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("step\tdice_semantic\n0\t0.5\n1\t0.6\n", encoding="utf-8")
    (chart,) = draw_charts(tmp_path, tmp_path, {})["curves"]
    ticks = re.findall(r">(\d)</text>", str(chart.svg))
    assert set(ticks) == {"1", "2"}


# ---- gallery -------------------------------------------------------------------------------------


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_layer_is_clear_outside_its_mask():
    layer = decoded(drawn_picture().reference).convert("RGBA")
    assert layer.getpixel((30, 15)) == (86, 180, 233, 255)
    assert layer.getpixel((30, 25))[3] == 0
    assert np.count_nonzero(np.asarray(layer)[..., 3]) == 10 * 40


def test_large_frames_are_reduced_with_their_layers_and_carry_no_metadata():
    frame = np.random.default_rng(0).integers(0, 256, (1024, 512)).astype(np.uint8)
    picture = make_picture(frame, frame > 250, frame < 5, frame_id="p", caption="")
    layers = (picture.frame, picture.reference, picture.prediction)
    assert {decoded(uri).size for uri in layers} == {(256, 512)}
    assert (picture.width_px, picture.height_px) == (256, 512)
    assert not decoded(picture.frame).getexif()


# ---- checklist and provenance --------------------------------------------------------------------


def test_the_checklist_has_every_item_and_ticks_none_without_a_value():
    numbers = {guideline: set() for guideline in {item.guideline for item in read_items()}}
    for item in read_items():
        numbers[item.guideline].add(item.number)
    assert {str(number) for number in range(1, 45)} == numbers["CLAIM (2024 update)"]
    leading = {re.match(r"\d+", number).group() for number in numbers["TRIPOD+AI"]}
    assert leading == {str(number) for number in range(1, 28)}
    leading = {re.match(r"\d+", number).group() for number in numbers["STARD 2015"]}
    assert leading == {str(number) for number in range(1, 31)}
    text = fill_checklist(DOCUMENTS, COMPOSITION)
    assert "| 20 | Level at which partitions are disjoint | Patient. |" in text
    assert "Training: 30 frames of 12 patients; validation: 8 frames of 4 patients." in text
    assert f"| 44 | Funding | {BLANK} |" in text
    # Phase 4 was not scored: what it would say is left blank, not half filled.
    assert f"| 38 | Diagnostic estimates and their precision | {BLANK} |" in text
    assert "{" not in text


def test_a_parameter_that_is_a_path_shows_its_last_part_alone():
    config = load_config(ROOT / "params.yaml")
    model = config.model.model_copy(update={"checkpoint": r"C:\Users\Gerda\sam3.pt"})
    rows = dict(parameter_rows(config.model_copy(update={"model": model})))
    assert rows["model.checkpoint"] == "sam3.pt"
    assert rows["train_phase2.negatives.policy"] == config.train_phase2.negatives.policy
    assert not any(name.startswith(("data.", "machine.")) for name in rows)


def test_outside_git_the_commit_is_unknown(tmp_path):
    assert code_version(tmp_path) == "unknown"


# ---- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_the_page_without_a_complaint_a_request_or_sideways_scrolling(
    browser, html, tmp_path, scheme, width
):
    path = tmp_path / "index.html"
    path.write_text(html, encoding="utf-8")
    size = {"width": width, "height": 740}
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    picture = Image.open(io.BytesIO(page.screenshot()))
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    corner = picture.convert("L").getpixel((2, 2))
    assert corner > 200 if scheme == "light" else corner < 60
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.close()


def test_layers_are_switched_by_the_keyboard_alone(browser, html):
    page = browser.new_page()
    page.set_content(html)
    reference = page.locator(".layers .reference").first
    prediction = page.locator(".layers .prediction").first
    assert reference.is_visible()
    page.locator("#frame-1-1-reference").focus()
    page.keyboard.press("Space")
    assert not reference.is_visible()
    assert prediction.is_visible()
    page.locator("#all-predictions").focus()
    page.keyboard.press("Space")
    assert not page.locator(".layers .prediction").nth(1).is_visible()
    page.close()
