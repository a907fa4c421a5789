"""Errors of a store as codes of TensorFlow's, in words that hold no secret."""

import os
import re

# InputError for modules that are imported later, when a program's own module may have this
# package's name; see `compat._programs.give_name_back`.
from mnist_estimator import InputError as InputError
from mnist_estimator import RunError
from mnist_estimator.storage import _paths


class ChangedError(RunError):
    """An object is not as the condition of a write says it is."""


class UnconditionalError(RunError):
    """A store takes a conditional write and does not keep to the condition."""


# tensorflow/c/tf_status.h (TF_Code).
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 2, 3, 4, 5
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 6, 7, 8, 9
ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 10, 11, 12, 13, 14
DATA_LOSS, UNAUTHENTICATED = 15, 16

_OF_OURS = (
    (_paths.PathError, INVALID_ARGUMENT),
    (FileNotFoundError, NOT_FOUND),
    (FileExistsError, ALREADY_EXISTS),
    (NotADirectoryError, FAILED_PRECONDITION),
    (IsADirectoryError, FAILED_PRECONDITION),
    (PermissionError, PERMISSION_DENIED),
    (TimeoutError, UNAVAILABLE),
    (ConnectionError, UNAVAILABLE),
    (NotImplementedError, UNIMPLEMENTED),
    (MemoryError, RESOURCE_EXHAUSTED),
    (ChangedError, ABORTED),
    (UnconditionalError, FAILED_PRECONDITION),
)
_OF_OBSTORE = {
    "NotFoundError": NOT_FOUND,
    "InvalidPathError": INVALID_ARGUMENT,
    "NotSupportedError": UNIMPLEMENTED,
    "AlreadyExistsError": ALREADY_EXISTS,
    "PreconditionError": ABORTED,
    "PermissionDeniedError": PERMISSION_DENIED,
    "UnauthenticatedError": PERMISSION_DENIED,
}
_HTTP = ((429, RESOURCE_EXHAUSTED), (401, PERMISSION_DENIED), (403, PERMISSION_DENIED))
# Values of such variables of the environment stand in no message.
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|CREDENTIAL|SAS")


def code_of(error: BaseException) -> int:
    """Return TensorFlow's code of an error."""
    for kind, code in _OF_OURS:
        if isinstance(error, kind):
            return code
    name = type(error).__name__
    if name in _OF_OBSTORE:
        return _OF_OBSTORE[name]
    if name == "GenericError":
        return _code_of_text(str(error))
    return INVALID_ARGUMENT if isinstance(error, ValueError) else UNKNOWN


def _code_of_text(text: str) -> int:
    status = re.search(r"\b(?:status|status code:?) (\d{3})\b", text)
    for number, code in _HTTP:
        if status and int(status[1]) == number:
            return code
    network = ("error sending request", "timed out", "timeout", "connection", "Server returned")
    if any(words in text for words in network) or (status and int(status[1]) >= 500):
        return UNAVAILABLE
    return UNKNOWN


def text_of(error: BaseException) -> str:
    """Say in one line what an error says, without secrets."""
    # What obstore writes below its first line is for its own developers.
    first = str(error).strip().split("\n\nDebug source", 1)[0]
    line = " ".join(first.split()) or type(error).__name__
    return redacted(line)[:800]


def redacted(text: str) -> str:
    """Leave out passwords, signatures and tokens of URLs, and secrets of the environment."""
    text = re.sub(r"(\w://)[^/\s@]*@", r"\1", text) if "@" in text else text
    text = re.sub(r"(\w://[^\s?\"')]*)\?[^\s\"')]*", r"\1", text)
    for name, value in os.environ.items():
        if len(value) >= 4 and _SECRET.search(name.upper()) and value in text:
            text = text.replace(value, "***")
    return text
