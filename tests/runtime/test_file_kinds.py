"""What file_kinds takes for gzip data, HTML and XML."""

import gzip

import pytest

from mnist_estimator.runtime import file_kinds


@pytest.mark.parametrize(
    ("start", "is_html", "is_markup"),
    [
        (b"<!DOCTYPE html><html>", True, True),
        (b"\xef\xbb\xbf\r\n <HTML lang=en>", True, True),
        (b"<head><title>404", True, True),
        (b"<?xml version='1.0'?><Error>", False, True),
        (b"<svg xmlns=", False, True),
        (b"html", False, False),
        (b"", False, False),
    ],
)
def test_html_and_xml(start, is_html, is_markup):
    assert (file_kinds.is_html(start), file_kinds.is_markup(start)) == (is_html, is_markup)
    assert not file_kinds.is_gzip(start)


def test_gzip():
    assert file_kinds.is_gzip(gzip.compress(b""))
    assert not file_kinds.is_gzip(file_kinds.GZIP[:1])
