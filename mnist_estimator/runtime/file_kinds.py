"""Tells gzip data and HTML pages, which stand in for all kinds of files, by their first bytes."""

from __future__ import annotations

GZIP = b"\x1f\x8b"  # What gzip data begins with.
_BLANKS = b"\xef\xbb\xbf \t\r\n"  # A byte order mark is one.
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")


def is_gzip(start: bytes) -> bool:
    """Whether a file that starts like this is gzip data."""
    return start.startswith(GZIP)


def is_html(start: bytes) -> bool:
    """Whether a file that starts like this is an HTML page, as a failed download leaves."""
    return start.lstrip(_BLANKS).lower().startswith(_HTML)


def is_markup(start: bytes) -> bool:
    """Whether a file that starts like this is HTML or XML, as servers send to report an error."""
    return start.lstrip(_BLANKS).startswith(b"<")
