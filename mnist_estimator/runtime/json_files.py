"""Reads this package's JSON files, which may be damaged or come from somebody else.

`parse` returns the value in a file, `digest` the digest of a value. The other functions check the
value of one field and return it. They raise ValueError with a line that names the field; the caller
adds the path.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

MOST_BYTES = 2**26  # More than the names of 2**20 classes take.
_MOST_DEPTH = 8
_MOST_BRACKETS = 2**21  # A list takes 100 bytes of memory or more. Names may hold brackets, too.
_MOST_DIGITS = 40  # Of a number; Python writes a float in at most 24 characters.


def parse(data: bytes, *, finite: bool = True) -> Any:
    """Returns the value of a JSON text in UTF-8.

    Args:
      finite: whether to refuse NaN and Infinity, which JSON does not have but Python writes.

    Raises:
      ValueError: if it is not JSON, has a key twice, or is nested deeper or has longer numbers than
        anything that this package writes.
    """
    if data.count(b"[") + data.count(b"{") > _MOST_BRACKETS:
        raise ValueError(f"more than {_MOST_BRACKETS:,} lists and objects")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse if finite else float,
            parse_int=_whole,
            parse_float=_float,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    _check_depth(value)
    return value


def digest(value: dict[str, Any]) -> str:
    """sha256 in hex of a value as JSON, whatever its spaces and the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def expect(value: Any, kind: type, where: str) -> Any:
    """Returns a value if it has exactly this type; True is not an int here."""
    if type(value) is not kind:
        raise ValueError(f"{where} is {shown(value)}, expected a {kind.__name__}")
    return value


def expect_keys(value: dict[str, Any], keys: Sequence[str], where: str) -> None:
    """Checks that an object has these keys and no others."""
    require_keys(value, keys, where)
    for key in value:
        if key not in keys:
            raise ValueError(f"{where} has {shown(key)}, expected only {', '.join(keys)}")


def require_keys(value: dict[str, Any], keys: Sequence[str], where: str) -> None:
    """Checks that an object has these keys, whatever else it has."""
    for key in keys:
        if key not in value:
            raise ValueError(f"{where} has no {key}")


def whole(value: Any, where: str, least: int, most: int) -> int:
    """Returns a whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{where} is {shown(value)}, expected {least} to {most}")
    return value


def number(value: Any, where: str) -> float:
    """Returns a number that fits a float; it may be NaN or infinite, which `parse` can refuse."""
    if type(value) not in (int, float) or (type(value) is int and abs(value) >= 2**63):
        raise ValueError(f"{where} is {shown(value)}, expected a number")
    return value


def text(value: Any, where: str) -> str:
    """Returns a text that is not empty and is printable."""
    if type(value) is not str or not value or not value.isprintable():
        raise ValueError(f"{where} has {shown(value)}, expected printable text")
    return value


def choice(value: Any, where: str, choices: Sequence[str]) -> str:
    """Returns a text that is one of `choices`."""
    if type(value) is not str or value not in choices:
        raise ValueError(f"{where} is {shown(value)}, expected {' or '.join(choices)}")
    return value


def sha256(value: Any, where: str) -> str:
    """Returns a SHA-256 digest of 64 hex digits."""
    if type(value) is not str or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"{where} is {shown(value)}, expected 64 hex digits")
    return value


def shown(value: Any) -> str:
    """Formats a value for a message: in ASCII, at most 60 characters."""
    # To print a nested value may take too long, or fail because it is too deep.
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__}"
    found = ascii(value[:61] if isinstance(value, str) else value)
    return found if len(found) <= 60 else f"{found[:57]}..."


def _check_depth(top: Any) -> None:
    level = [top]
    for _ in range(_MOST_DEPTH):
        level = [value for outer in level for value in _values(outer)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _values(outer: Any) -> Iterable[Any]:
    if isinstance(outer, dict):
        return outer.values()
    return outer if isinstance(outer, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _whole(digits: str) -> int:
    return int(_short(digits))


def _float(digits: str) -> float:
    value = float(_short(digits))
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large a number")
    return value


def _short(digits: str) -> str:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits, expected at most {_MOST_DIGITS}")
    return digits
