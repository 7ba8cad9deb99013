"""Known-good sets of parameters, written into ``params.yaml`` by name.

A profile is a file ``profiles/NAME.yaml`` with the sections and keys of ``params.yaml`` that it
sets, and ``extends``, the profile that it builds on; the default has none. A profile holds what
differs from the one that it extends, and nothing else.

Conventions
-----------
Keys are written with dots, ``train_phase1.lr``. ``params.yaml`` keeps its comments, its order and
the way its numbers are written; a key that no profile names is left as it is.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sam3_angio.config import parse_config
from sam3_angio.errors import ConfigError, Fault
from sam3_angio.files import write_text

_EXTENDS = "extends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value that a profile changes.

    Attributes
    ----------
    key : str
        With dots between its parts.
    before, after : object
        Values as YAML has them.
    """

    key: str
    before: object
    after: object


def profile_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the profiles in a folder, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def read_profile(name: str, folder: Path) -> dict[str, Any]:
    """Return what a profile and those that it extends set.

    Parameters
    ----------
    name : str
    folder : Path
        Of the profiles.

    Returns
    -------
    dict
        Value by key, with dots between its parts.

    Raises
    ------
    ConfigError
        There is no such profile, it is no YAML mapping, or it extends itself.
    """
    values: dict[str, Any] = {}
    above: list[str] = []
    while name:
        if name in above:
            raise ConfigError(f"The profile '{name}' extends itself.")
        above.append(name)
        content = _load(name, folder)
        name = str(content.pop(_EXTENDS, ""))
        values = {**dict(_leaves(content)), **values}
    return values


def apply_profile(name: str, params: Path, folder: Path, *, dry_run: bool) -> tuple[Change, ...]:
    """Write a profile into ``params.yaml`` and return what that changes.

    Parameters
    ----------
    name : str
    params : Path
        The file to change; left as it is if the result is not valid.
    folder : Path
        Of the profiles.
    dry_run : bool
        Whether nothing is written.

    Raises
    ------
    ConfigError
        The profile is wrong, names a key that `params` does not have, or gives a value that the
        schema refuses.
    """
    values = read_profile(name, folder)
    yaml = _round_trip()
    document = _document(yaml, params)
    _require_known(name, values, document)
    changes = tuple(_changes(values, document))
    if not changes:
        return ()
    for change in changes:
        section, key = _place(document, change.key)
        section[key] = change.after
    text = io.StringIO()
    yaml.dump(document, text)
    parse_config(text.getvalue(), params.name)
    if not dry_run:
        write_text(params, text.getvalue())
    return changes


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # a long line stays one line
    return yaml


def _load(name: str, folder: Path) -> dict[str, Any]:
    names = profile_names(folder)
    if name not in names:
        raise ConfigError(
            f"There is no profile '{name}'. There are: {', '.join(names) or 'none at all'}."
        )
    return dict(_document(_round_trip(), folder / f"{name}.yaml"))


def _document(yaml: YAML, path: Path) -> Any:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.name} is missing; run from the repository's root.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name} is not valid YAML: {str(error).splitlines()[-1]}"
        ) from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path.name} holds no sections.")
    return document


def _leaves(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a section and of those below; a list is one value."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _require_known(name: str, values: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    unknown = values.keys() - dict(_leaves(document)).keys()
    if unknown:
        message = "params.yaml has no such key."
        faults = [Fault(file=f"{name}.yaml", field=key, message=message) for key in sorted(unknown)]
        raise ConfigError(f"The profile '{name}' does not fit params.yaml:", faults)


def _changes(values: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the changes in the order of the document."""
    for key, before in _leaves(document):
        if key in values and values[key] != before:
            yield Change(key=key, before=before, after=values[key])


def _place(document: Any, key: str) -> tuple[Any, str]:
    """Return the section that a key is in, and its last part."""
    *sections, last = key.split(".")
    for section in sections:
        document = document[section]
    return document, last
