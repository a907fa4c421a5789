"""Errors of a store as codes of TensorFlow's, in words that hold no secret."""

import os
import re

from mnist_estimator import InputError, RunError
from mnist_estimator.storage import _paths


class ChangedError(RunError):
    """An object is not as the condition of a write says it is."""


class UnconditionalError(RunError):
    """A store takes a conditional write and does not keep to the condition."""


class ReadOnlyError(Exception):
    """A filesystem that can only be read."""


# tensorflow/c/tf_status.h (TF_Code).
UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 2, 3, 5, 6, 7
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE = 8, 9, 10, 11
UNIMPLEMENTED, UNAVAILABLE = 12, 14

_CODES = {
    _paths.PathError: INVALID_ARGUMENT,
    FileNotFoundError: NOT_FOUND,
    FileExistsError: ALREADY_EXISTS,
    NotADirectoryError: FAILED_PRECONDITION,
    IsADirectoryError: FAILED_PRECONDITION,
    PermissionError: PERMISSION_DENIED,
    ReadOnlyError: UNIMPLEMENTED,
    MemoryError: RESOURCE_EXHAUSTED,
    ChangedError: ABORTED,
    UnconditionalError: FAILED_PRECONDITION,
    InputError: FAILED_PRECONDITION,
    RunError: FAILED_PRECONDITION,
    ConnectionError: UNAVAILABLE,
    TimeoutError: UNAVAILABLE,
}
# By name, as obstore is imported late.
_OF_OBSTORE = {
    "InvalidPathError": INVALID_ARGUMENT,
    "NotSupportedError": UNIMPLEMENTED,
    "AlreadyExistsError": ALREADY_EXISTS,
    "PreconditionError": ABORTED,
    "PermissionDeniedError": PERMISSION_DENIED,
    "UnauthenticatedError": PERMISSION_DENIED,
}
# What obstore says where it has no error of its own for it, the first that is found.
_OF_TEXT = (
    (r"necessary privileges|authentication credentials|status code: 40[13]\b", PERMISSION_DENIED),
    (r"status code: 404\b|not found:", NOT_FOUND),
    (r"status code: (429|507)\b", RESOURCE_EXHAUSTED),
    (r"status code: 412\b", ABORTED),
    (r"status code: 501\b", UNIMPLEMENTED),
    (r"status code: (408|5\d\d)\b", UNAVAILABLE),
    (r"error sending request|timed out|connection|body error", UNAVAILABLE),
)
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|CREDENTIAL|SAS|CONNECTION_STRING")
_remembered: set[str] = set()


def code_of(error: BaseException) -> int:
    """Return TensorFlow's code of an error."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    name = type(error).__name__
    if name in _OF_OBSTORE:
        return _OF_OBSTORE[name]
    if isinstance(error, OSError) or name in ("GenericError", "BaseError"):
        for pattern, code in _OF_TEXT:
            if re.search(pattern, str(error)):
                return code
    return INVALID_ARGUMENT if isinstance(error, ValueError) else UNKNOWN


def text_of(error: BaseException) -> str:
    """Say in one line what an error says, without secrets."""
    # What obstore writes below its first line is for its own developers.
    line = " ".join(str(error).split("\n\nDebug source", 1)[0].split())
    # A server's answer may hold what was signed, and with which key.
    line = re.sub(r"(<\?xml.*|<Error>.*)", _short_answer, line)
    return redacted(line)[:600] or type(error).__name__


def _short_answer(found: re.Match[str]) -> str:
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", found[0]) for tag in ("Code", "Message"))
    return ": ".join(each[1] for each in (code, message) if each)


def remember_secret(value: str) -> None:
    """Keep a secret that is not in the environment out of all messages too."""
    if len(value) >= 4:
        _remembered.add(value)


def redacted(text: str) -> str:
    """Leave out passwords, signatures and tokens of URLs, and secrets that are known."""
    text = redacted_urls(text)
    known = {value for name, value in os.environ.items() if _SECRET_NAME.search(name.upper())}
    for value in sorted(known | _remembered, key=len, reverse=True):
        # Shorter ones are settings, such as "true".
        if len(value) >= 6:
            text = text.replace(value, "***")
    return text


def redacted_urls(text: str) -> str:
    """Leave out what stands in URLs before an "@" and after a "?"."""
    text = re.sub(r"(https?://)[^/\s@]*@", r"\1", text)
    # In the key of a store a "?" is a letter as others are.
    return re.sub(r"(https?://[^\s?\"']*)\?[^\s\"']*", r"\1", text)
