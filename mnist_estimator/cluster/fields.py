"""Checks the value of one field of a cluster's description; the error names the field."""

from __future__ import annotations

import json
import re
import reprlib
from typing import Any

from mnist_estimator import InputError

_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = rf"(?=.{{1,253}}:){_LABEL}(?:\.{_LABEL})*\.?"
# Without brackets the port would be read as the last group of an IPv6 address.
_ADDRESS = re.compile(rf"(?:{_HOST}|\[[0-9A-Fa-f:.]{{2,45}}\]):(?P<port>[0-9]{{1,5}})")

_repr = reprlib.Repr()
_repr.maxstring, _repr.maxother, _repr.maxlevel = 60, 60, 2


def addresses(hosts: Any, field: str) -> tuple[str, ...]:
    """Returns a list of "host:port" as a tuple."""
    if not isinstance(hosts, list) or not hosts:
        raise wrong(field, hosts, "a list of host:port")
    for host in hosts:
        found = _ADDRESS.fullmatch(host) if isinstance(host, str) else None
        if not found or not 0 < int(found["port"]) < 65536:
            raise wrong(field, host, "host:port")
    return tuple(hosts)


def whole(value: Any, field: str) -> int:
    """Returns a whole number, given as an int or in digits."""
    # int() would also accept digits of other scripts, true, and 1.5.
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
        return int(value)
    raise wrong(field, value, "a whole number")


def parsed(text: str, field: str) -> Any:
    """Returns the value of a JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{field}: found {shown(text)}, expected JSON ({error})") from None


def wrong(field: str, found: Any, expected: str) -> InputError:
    """The error about the value of a field."""
    return InputError(f"{field}: found {shown(found)}, expected {expected}")


def shown(value: Any) -> str:
    """Formats a value for a message, shortened to fit a line."""
    return _repr.repr(value)
