"""What a file is, told from its first bytes."""

import gzip

import pytest

from mnist_estimator.data import file_kinds


def test_gzip():
    assert file_kinds.is_gzip(gzip.compress(b""))
    assert not any(map(file_kinds.is_gzip, (b"", b"\x1f", b"\x1f\x8c", b"text")))


@pytest.mark.parametrize("start", [b"<html>", b"<?xml", b"\xef\xbb\xbf\r\n <!DOCTYPE html>"])
def test_web_pages(start):
    assert file_kinds.is_web_page(start)


@pytest.mark.parametrize("start", [b"", b"a <b>", b"\0\0\x08\x03", b"1,2"])
def test_no_web_pages(start):
    assert not file_kinds.is_web_page(start)
