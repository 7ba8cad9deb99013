"""Reading JSON that others wrote: no NaN, no doubled key, no surprise in depth or size.

Python's :mod:`json` takes ``NaN``, infinities and doubled keys without a word; the last key wins.
A fault names the place in the file, never the value that was found there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sam3_angio.errors import DataError, Fault
from sam3_angio.files import require_regular

Record = TypeVar("Record")

_SHOWN_FAULTS = 20


class _NotStrictError(ValueError):
    """A document that Python's reader takes and JSON does not allow."""


def read_json(path: Path, schema: TypeAdapter[Record], max_bytes: int) -> Record:
    """Read a JSON document into a record.

    Parameters
    ----------
    path : Path
        UTF-8 file.
    schema : pydantic.TypeAdapter
        Validates strictly: a number in quotes is no number.
    max_bytes : int
        A larger file is refused unread.

    Raises
    ------
    DataError
        The file cannot be read, is not JSON, or does not fit the schema; with every fault, up to
        twenty.
    """
    text = _read_text(path, max_bytes)
    try:
        json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_doubled)
        return schema.validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(f"{path.name} is not valid:", _faults(path.name, error)) from None
    except _NotStrictError as error:
        raise DataError.at(path.name, str(error)) from None
    except json.JSONDecodeError as error:
        raise DataError.at(path.name, f"not JSON ({error.msg}).", row=error.lineno) from None
    except RecursionError:
        raise DataError.at(path.name, "nested too deeply.") from None
    except ValueError:
        raise DataError.at(path.name, "a number has too many digits.") from None


def _read_text(path: Path, max_bytes: int) -> str:
    try:
        if require_regular(path).st_size > max_bytes:
            raise DataError.at(path.name, f"larger than {max_bytes >> 20} MiB.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError.at(path.name, "the file is missing.") from None
    except UnicodeDecodeError as error:
        raise DataError.at(path.name, f"not UTF-8 (byte {error.start}).") from None
    except OSError as error:
        raise DataError.at(path.name, f"cannot be read ({error.strerror}).") from None


def _refuse_constant(name: str) -> None:
    raise _NotStrictError(f"{name} is not a number.")


def _refuse_doubled(pairs: Sequence[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _NotStrictError("a key occurs twice in one object.")


def _faults(name: str, error: ValidationError) -> list[Fault]:
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return [
        Fault(
            file=name,
            field=".".join(str(part) for part in detail["loc"]),
            message=f"{detail['msg'].removeprefix('Value error, ')}.",
        )
        for detail in details[:_SHOWN_FAULTS]
    ]
