"""Each command's --help has an example, and the example's options exist."""

import re

import pytest
import typer
from typer.testing import CliRunner

from sam3_angio.cli import _commands

COMMANDS = typer.main.get_command(_commands).commands
EXAMPLE = re.compile(r"Examples?: (.*)", re.DOTALL)


def example_of(name):
    found = EXAMPLE.search(COMMANDS[name].help or "")
    return "" if found is None else " ".join(found.group(1).split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_has_an_example_of_the_command(name):
    assert re.search(rf"\bsam3-angio {name}\b|\bgit config core\.hooksPath\b", example_of(name))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_example_uses_options_that_there_are(name):
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    known |= {option for parameter in COMMANDS[name].params for option in parameter.secondary_opts}
    used = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", example_of(name)))
    assert used <= known | {"--help"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_example_is_shown_on_a_terminal(name):
    done = CliRunner().invoke(_commands, [name, "--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    assert "Example" in done.output


def test_every_option_says_what_it_is_for():
    silent = [
        f"{name} {parameter.name}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        if parameter.name != "help" and not getattr(parameter, "help", None)
    ]
    assert silent == []
