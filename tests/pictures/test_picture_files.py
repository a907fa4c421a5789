"""Files of pictures: which are found, and what is wrong with them, told from the headers."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from PIL import Image
from support.drawing import (
    bmp_header,
    bmp_masks,
    drawn,
    encoded,
    gif_header,
    gif_of,
    moved_pixels,
    page,
    png_header,
    scanned,
    with_texts,
)

from mnist_estimator import InputError
from mnist_estimator.pictures import picture_files


def test_find(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["b/2.PNG", "b/c/1.jpeg", "b/.x.png", "b/a.txt", "b/10.gif", "7[1].bin", "g2.bmp"]
    # What phones and browsers save, too: what cannot be read is refused, not left out.
    names += ["b/c/2.jfif", "b/c/3.HEIC"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    paths, problems = picture_files.find(["g*.bmp", "b", "7[1].bin", "none.png", "empty", "q*.png"])
    assert paths == [
        "g2.bmp",
        "b/10.gif",
        "b/2.PNG",
        "b/c/1.jpeg",
        "b/c/2.jfif",
        "b/c/3.HEIC",
        "7[1].bin",
    ]
    assert problems == [
        "none.png: No such file",
        "empty: a folder without pictures",
        "q*.png: matches nothing",
    ]


def test_find_goes_through_every_folder_once(tmp_path, monkeypatch):
    """Links to folders are followed, where they lead in circles, too."""
    monkeypatch.chdir(tmp_path)
    for name in ("tree/a/1.png", "tree/b[1]/deep/2.png", "tree/.hidden/3.png", "other/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("one", "two", "three"):
        (tmp_path / "tree" / name).symlink_to(".")
    (tmp_path / "tree/a/up").symlink_to("..")
    (tmp_path / "tree/more").symlink_to("../other")
    expected = ["tree/a/1.png", "tree/b[1]/deep/2.png", "tree/more/4.png"]
    for pattern in ("tree/**/*.png", "t*/**/*.png", "tree/**", "tree/**/**/*.png"):
        assert picture_files.find([pattern]) == (expected, [])
    absolute = [str(tmp_path / path) for path in expected]
    assert picture_files.find([f"{tmp_path}/tree/**/*.png"]) == (absolute, [])
    assert picture_files.find(["tree/**/deep/*.png"]) == (expected[1:2], [])
    assert picture_files.find(["tree/b[1]/**/2*"]) == (expected[1:2], [])
    assert picture_files.find(["tree/**/none*"]) == ([], ["tree/**/none*: matches nothing"])
    monkeypatch.chdir(tmp_path / "tree")
    below = [path.removeprefix("tree/") for path in expected]
    assert picture_files.find(["**/*.png"]) == (below, [])
    lines = []
    picture_files.find(["**/*.png"], lines.append)
    assert lines[-1] == "**/*.png: looked at 4 folders"


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xe0\0\x04JF\xff\xc2\0\x0b\x08" + struct.pack(">2HB", height, width, 1)


_INSTEAD = "expected PNG, JPEG, GIF or BMP; save it as PNG or JPEG"
_AGAIN = "that ends inside its header; get the file again"
_LEAST = "pixels, expected at least 1x1"
_MOST = "expected at most 50,000,000 in all; save it smaller"
_BAD = {
    "empty": (b"", "empty, expected a picture"),
    "text": (b"hello", f"no picture, {_INSTEAD}"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1", f"a HEIC picture, {_INSTEAD}"),
    "AVIF": (b"\0\0\0\x18ftypavif", f"an AVIF picture, {_INSTEAD}"),
    "WebP": (b"RIFF\x10\0\0\0WEBPVP8 ", f"a WebP picture, {_INSTEAD}"),
    "TIFF": (b"II*\0\x08\0\0\0", f"a TIFF picture, {_INSTEAD}"),
    "PDF": (b"%PDF-1.7", f"a PDF document, {_INSTEAD}"),
    "SVG": (b'<?xml version="1.0"?>\n<svg>', f"an SVG drawing, {_INSTEAD}"),
    "HTML": (b"\n<!DOCTYPE html><html>", f"an HTML page, {_INSTEAD}"),
    "PNG cut": (png_header(5, 5)[:20], f"a PNG {_AGAIN}"),
    "JPEG cut": (jpeg_header(5, 5)[:15], f"a JPEG {_AGAIN}"),
    "GIF cut": (gif_header(5, 5)[:9], f"a GIF {_AGAIN}"),
    "BMP cut": (bmp_header(5, 5)[:20], f"a BMP {_AGAIN}"),
    "PNG of nothing": (png_header(0, 5), f"a PNG of 0x5 {_LEAST}"),
    "JPEG of nothing": (jpeg_header(5, 0), f"a JPEG of 5x0 {_LEAST}"),
    "GIF of nothing": (gif_header(5, 0), f"a GIF of 5x0 {_LEAST}"),
    "BMP below nothing": (bmp_header(-5, 5), f"a BMP of -5x5 {_LEAST}"),
    "PNG bomb": (png_header(100_000, 100_000), f"a PNG of 100000x100000 pixels, {_MOST}"),
    "JPEG bomb": (jpeg_header(60_000, 60_000), f"a JPEG of 60000x60000 pixels, {_MOST}"),
    "GIF bomb": (gif_header(7000, 7000, frames=3), f"a GIF of 147,000,000 pixels, {_MOST}"),
    "GIF of one large frame": (
        gif_of((1, 1), (8000, 7000)),
        f"a GIF of 56,000,000 pixels, {_MOST}",
    ),
    "GIF of a wide and a high frame": (
        gif_of((1, 1), (20_000, 1), (1, 20_000)),
        f"a GIF of 400,000,000 pixels, {_MOST}",
    ),
    "GIF of a small frame": (
        gif_of((5, 6), (5, 5)),
        "a GIF whose first frame does not fill it; save it as PNG or JPEG",
    ),
    "GIF of a large screen": (
        gif_of((60_000, 60_000), (1, 1)),
        f"a GIF of 3,600,000,000 pixels, {_MOST}",
    ),
    "JPEG of many scans": (
        scanned(101),
        "a JPEG of 101 scans, expected at most 100; save it again",
    ),
    "large JPEG of some scans": (
        jpeg_header(6000, 6000) + 30 * picture_files.SCAN_STARTS[0],
        "a JPEG of 30 scans, expected at most 27; save it again",
    ),
    "PNG of many texts": (
        with_texts(51),
        "a PNG of 51 packed texts, expected at most 50; save it again",
    ),
    "BMP bomb": (bmp_header(10_000, -9_000), f"a BMP of 10000x9000 pixels, {_MOST}"),
    "BMP without its last row": (
        encoded(drawn(), "BMP")[:-150],
        "a BMP that is cut off; get the file again",
    ),
    "BMP of a long header": (
        bmp_header(5, 5, size=1000),
        "a BMP whose header is too long; save it as PNG or JPEG",
    ),
    "BMP of OS/2": (bmp_header(5, 5, size=12), "a BMP of OS/2; save it as PNG or JPEG"),
    "BMP of other masks": (
        bmp_masks(0xFF000000, 0xFF0000, 0xFF00),
        "a BMP whose colours are in another order than usual; save it as PNG or JPEG",
    ),
    "BMP of 1 bit": (bmp_header(5, 5, 1), "a BMP of 1 bits a pixel; save it as PNG or JPEG"),
    "JPEG of no segments": (
        b"\xff\xd8\xff\xe0\0\x04JFxx",
        "a JPEG whose segments do not follow each other; save it as PNG or JPEG",
    ),
}


@pytest.mark.parametrize("bad", _BAD)
def test_bad_files_are_refused_in_one_line(bad, tmp_path):
    content, line = _BAD[bad]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        picture_files.read(str(path))
    assert str(error.value) == f"{path}: {line}"


def test_a_gif_with_a_transparent_colour_is_refused(tmp_path):
    for options in ({}, {"transparency": 0}):
        picture = Image.new("P", (5, 5), 1)
        picture.putpixel((2, 2), 0)
        picture.save(tmp_path / "x.gif", **options)
        if options:
            with pytest.raises(InputError, match="a GIF with a transparent colour; save it as PNG"):
                picture_files.read(str(tmp_path / "x.gif"))
        else:
            assert picture_files.read(str(tmp_path / "x.gif"))


def test_what_comes_after_the_first_frame_of_a_gif_is_nothing(tmp_path):
    transparent = b"\x21\xf9\x04\x01\0\0\0\0"
    frames = gif_of((5, 5), (5, 5), (3, 3))
    second = frames.rindex(b"\x2c")
    (tmp_path / "x.gif").write_bytes(frames[:second] + transparent + frames[second:])
    assert picture_files.read(str(tmp_path / "x.gif"))


def test_a_gif_has_the_shape_of_its_first_frame():
    assert picture_files.image_shape(gif_of((4, 4), (6, 5))) == (5, 6, 3)


def test_a_bmp_with_the_usual_masks_is_read(tmp_path):
    (tmp_path / "x.bmp").write_bytes(bmp_masks(0xFF0000, 0xFF00, 0xFF))
    assert picture_files.read(str(tmp_path / "x.bmp"))


def test_what_follows_the_table_of_colours_of_a_bmp_is_nothing(tmp_path):
    moved = moved_pixels(encoded(drawn(), "BMP"))
    (tmp_path / "x.bmp").write_bytes(moved)
    assert picture_files.read(str(tmp_path / "x.bmp")) == moved


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "MAX_FILE_BYTES", 1 << 20)
    path = tmp_path / "x.png"
    path.write_bytes(png_header(5, 5) + bytes(1 << 20))
    with pytest.raises(InputError, match="x.png: larger than 1 MiB; save it smaller$"):
        picture_files.read(str(path))


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda path: None, "No such file or directory"),
        (os.mkdir, "Is a directory"),
        (os.mkfifo, "not a file, expected a picture"),
    ],
    ids=["missing", "folder", "FIFO"],
)
def test_what_is_no_file_is_refused(make, line, tmp_path):
    path = str(tmp_path / "x.png")
    make(path)
    with pytest.raises(InputError) as error:
        picture_files.read(path)
    assert str(error.value) == f"{path}: {line}"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_good_file_is_returned_as_it_is(form, tmp_path):
    content = encoded(255 * (1 - page(drawn())), form)
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    assert picture_files.read(str(path)) == content


def test_no_header_makes_the_checks_fail():
    """Cut or changed anywhere, a header is answered with a line, or with none."""
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "GIF", "BMP"):
        whole = encoded(255 * (1 - page(drawn())), form)
        for length in range(200):
            assert "\n" not in picture_files.problem(whole[:length])
            changed = bytearray(whole)
            changed[random.integers(200)] = random.integers(256)
            assert "\n" not in picture_files.problem(bytes(changed))
