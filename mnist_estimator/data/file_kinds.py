"""What a file is, told from its first bytes."""

from __future__ import annotations

GZIP = b"\x1f\x8b"
_BLANKS_AND_BYTE_ORDER_MARK = b"\xef\xbb\xbf \t\r\n"


def is_gzip(start: bytes) -> bool:
    """Whether a file that begins with these bytes is gzip data."""
    return start.startswith(GZIP)


def is_web_page(start: bytes) -> bool:
    """Whether a file that begins with these bytes is HTML or XML, as a server's error page is."""
    return start.lstrip(_BLANKS_AND_BYTE_ORDER_MARK).startswith(b"<")
