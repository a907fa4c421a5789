"""This package's JSON files as they come back: perhaps damaged, perhaps written by a stranger.

`parse` gives what a file holds, `digest` the digest of a value. The others check what stands in one
of its fields, and return it. They raise ValueError with a line that names the field, for the caller
to put the path before.
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
_MOST_BRACKETS = 2**21  # Each takes a hundred bytes and more, and time; names may have some, too.
_MOST_DIGITS = 40  # Of a number; Python writes a float in at most 24 characters.


def parse(data: bytes, *, finite: bool = True) -> Any:
    """Returns the value of a JSON text in UTF-8.

    Args:
      finite: whether NaN and Infinity are refused; JSON has none, but Python writes them.

    Raises:
      ValueError: also for a key that stands twice, and for what is nested deeper, or has longer
        numbers, than anything that this package writes.
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
    """Returns a value of exactly this type: True is no int."""
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
    """Returns a number that a float can be; NaN and infinite ones are for `parse` to refuse."""
    if type(value) not in (int, float) or (type(value) is int and abs(value) >= 2**63):
        raise ValueError(f"{where} is {shown(value)}, expected a number")
    return value


def text(value: Any, where: str) -> str:
    """Returns a text that is not empty and has no control characters."""
    if type(value) is not str or not value or not value.isprintable():
        raise ValueError(f"{where} has {shown(value)}, expected printable text")
    return value


def choice(value: Any, where: str, choices: Sequence[str]) -> str:
    """Returns one of the texts that may stand there."""
    if type(value) is not str or value not in choices:
        raise ValueError(f"{where} is {shown(value)}, expected {' or '.join(choices)}")
    return value


def sha256(value: Any, where: str) -> str:
    """Returns a digest in hex."""
    if type(value) is not str or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"{where} is {shown(value)}, expected 64 hex digits")
    return value


def shown(value: Any) -> str:
    """A value in ASCII, cut to what fits a line."""
    # A nested value may be too deep to print, a long one too long.
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
