"""The documents name what there is: error texts, commands, options, parameters, files, links."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from sam3_angio.cli import _commands
from sam3_angio.config import load_config
from sam3_angio.manifest import fold_patient_id
from sam3_angio.phantom.identity import patient_id
from sam3_angio.split import place

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [path for path in DOCUMENTS if path.name != "LOG.md"]
COMMANDS = typer.main.get_command(_commands).commands


def said_texts():
    """Return every text in the code; what an f-string fills in is an ellipsis."""
    texts = []
    for path in [*(ROOT / "sam3_angio").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def messages(section):
    """Return the first column of a table of the page of troubles."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    part = page.split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)


def test_every_message_of_the_page_of_troubles_is_said_by_the_code():
    texts = said_texts()
    found = messages("Of this project")
    assert len(found) > 15
    for message in found:
        for part in (part for part in re.split("…", message) if len(part.strip()) > 3):
            assert any(part.strip() in text for text in texts), (message, part)


def linked(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path):
    for target in linked(path):
        if not re.match(r"https?://", target):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_commands_and_their_options_exist(path):
    text = re.sub(r"[\\`]\n", " ", path.read_text(encoding="utf-8"))
    for name, rest in re.findall(r"sam3-angio ([a-z][a-z-]+)([^\n`|#]*)", text):
        assert name in COMMANDS, name
        known = {"--help"}
        for parameter in COMMANDS[name].params:
            known |= {*parameter.opts, *parameter.secondary_opts}
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) <= known, (name, rest)


@cache
def parameters():
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))

    def walk(node, before):
        for key, value in node.items():
            yield f"{before}{key}"
            if isinstance(value, dict):
                yield from walk(value, f"{before}{key}.")

    return set(walk(content, ""))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_parameters_exist(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"-S '?([a-z_0-9.]+)=", text))
    named |= set(re.findall(r"`((?:data|extract|convert|split|model|prompts|train|train_phase[1-4]"
                            r"|train_baseline|evaluate|machine)\.[a-z_0-9.]+)`", text))  # fmt: skip
    named = {name for name in named if not name.endswith((".py", ".yaml", ".json", ".md", ".dvc"))}
    assert named <= parameters()


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_files_of_the_repository_exist(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(
        r"(?<![\w/.])((?:sam3_angio|stages|tests|benchmarks|profiles|docs|hooks)/[\w./-]+\.\w+)",
        text,
    )
    new = {
        "sam3_angio/detector/configs/phase5.yaml",
        "stages/train_phase5.py",
        "profiles/NAME.yaml",
    }
    for name in {*named} - new:
        assert (ROOT / name).is_file(), name


def test_the_miniature_has_patients_to_train_and_to_validate_on():
    page = (ROOT / "docs" / "how-to" / "try-a-miniature.md").read_text(encoding="utf-8")
    patients = int(re.search(r"--patients (\d+)", page).group(1))
    split = load_config(ROOT / "params.yaml").split
    names = [fold_patient_id(patient_id(number)) for number in range(1, patients + 1)]
    validating = [place(name, split.seed) < split.val_fraction for name in names]
    assert 0 < sum(validating) < patients


def test_the_citation_is_whole():
    found = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for key in ("cff-version", "message", "title", "authors", "version", "license"):
        assert found[key], key
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{found["version"]}"' in pyproject
