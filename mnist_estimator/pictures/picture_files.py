"""Files of pictures, looked at before anything of them is decoded.

A picture of a few kilobytes may declare gigapixels. What a PNG, JPEG, GIF or BMP declares is read
from its header here, by the standard library alone.
"""

from __future__ import annotations

import glob
import itertools
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence

from mnist_estimator import InputError
from mnist_estimator.runtime import file_kinds

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 50_000_000
# A JPEG's decoder goes through its pixels once a scan. Pictures have 20 scans at the most.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 1_000_000_000
SCAN_STARTS = tuple(b"\xff\xda\0" + bytes([6 + 2 * count, count]) for count in (1, 2, 3, 4))
# Of a PNG: each inflates to as much as 8 MB, all of which is thrown away.
MAX_TEXTS = 50
PACKED_TEXTS = (b"zTXt", b"iTXt")
# Pictures by their suffix; what is not to be read is refused and not left out.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff")
SUFFIXES += (".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".ppm", ".pgm", ".pbm", ".pnm")
SUFFIXES += (".tga", ".ico")


def find(
    arguments: Sequence[str], report: Callable[[str], None] = lambda line: None
) -> tuple[list[str], list[str]]:
    """Finds the pictures that arguments name.

    Args:
      arguments: files, whatever their suffix; folders, of which all pictures are taken by their
        suffix, hidden ones and what is behind links to folders apart; patterns, for shells that
        leave them to the program. Their ** goes through every folder below once, also where links
        lead in circles.
      report: is called with a line that says how far the search is, again and again.

    Returns:
      The paths, in the order of the arguments and by name within each, and what is wrong with an
      argument, a line each.
    """
    paths, problems = [], []
    for argument in arguments:
        # A file may be called "7[1].png".
        if os.path.lexists(argument) or not glob.has_magic(argument):
            found = [argument]
        else:
            found = sorted(set(_matching(argument, report)))
            problems += [] if found else [f"{argument}: matches nothing"]
        for path in found:
            inside = sorted(_pictures_in(path, problems)) if os.path.isdir(path) else [path]
            if not inside:
                problems.append(f"{path}: a folder without pictures")
            elif os.path.lexists(path):
                paths += inside
            else:
                problems.append(f"{path}: No such file")
    return paths, problems


def _matching(pattern: str, report: Callable[[str], None]) -> Iterator[str]:
    """The files and folders that match; of a ** at the end, the files. Some may come twice."""
    names = pattern.split(os.sep)
    if "**" not in names:
        yield from _alike(pattern)
        return
    at = names.index("**")
    here = os.sep if pattern.startswith(os.sep) else os.curdir
    above, below = os.sep.join(names[:at]) or here, names[at + 1 :]
    while below[:1] == ["**"]:  # Which adds nothing.
        below = below[1:]
    for top in [above] if os.path.isdir(above) else _alike(above):
        for count, folder in enumerate(_folders(top)):
            report(f"{pattern}: looked at {count:,} folders")
            inner = os.path.join(glob.escape(folder), *(below or ["*"]))
            for path in _matching(inner, report):
                if below or not os.path.isdir(path):
                    yield path.removeprefix("./") if above == os.curdir else path


def _alike(pattern: str) -> list[str]:
    folder, name = os.path.split(pattern)
    if not os.path.isdir(folder):
        return glob.glob(pattern)
    # The folder itself may be called "run[1]".
    return [os.path.join(folder, name) for name in glob.glob(name, root_dir=folder)]


def _folders(top: str) -> Iterator[str]:
    """A folder and those below, hidden ones apart, each once; those behind links come last."""
    seen, starts = set(), [top]
    while starts:
        for place, folders, _ in os.walk(starts.pop(0)):
            found = os.stat(place)
            if (found.st_dev, found.st_ino) in seen:
                folders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            yield place
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = [os.path.join(place, name) for name in folders]
            starts += [path for path in paths if os.path.islink(path)]


def _pictures_in(folder: str, problems: list[str]) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        # "._7.png" is what macOS writes beside a 7.png on other systems' disks: no picture.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(place, name)


def read(path: str) -> bytes:
    """Returns a picture as it is encoded, once its size and header are known to be sound.

    Raises:
      InputError: one line that names the path, if it cannot be read or `problem` finds something.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path}: not a file, expected a picture")
            encoded = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    wrong = problem(encoded)
    if wrong:
        raise InputError(f"{path}: {wrong}")
    return encoded


def _open_at_once(path: str, flags: int) -> int:
    """Opens a FIFO too without waiting for whoever writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def problem(encoded: bytes) -> str:
    """What is wrong with a file, one line, as far as its headers tell; "" if nothing is."""
    if not encoded:
        return "empty, expected a picture"
    if len(encoded) > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES >> 20} MiB; save it smaller"
    name = next((name for name in _HEADERS if encoded.startswith(_HEADERS[name][0])), None)
    if name is None:
        return f"{_kind(encoded)}, expected PNG, JPEG, GIF or BMP; save it as PNG or JPEG"
    try:
        found = list(_HEADERS[name][1](encoded))
    except (struct.error, IndexError):
        return f"a {name} that ends inside its header; get the file again"
    except ValueError as error:
        return f"a {name} {error}; save it as PNG or JPEG"
    for width, height in found:
        if width <= 0 or height <= 0:
            return f"a {name} of {width}x{height} pixels, expected at least 1x1"
    pixels = _pixels(found)
    if pixels > MAX_PIXELS:
        size = f"{found[0][0]}x{found[0][1]} pixels" if len(found) == 1 else f"{pixels:,} pixels"
        return f"a {name} of {size}, expected at most {MAX_PIXELS:,} in all; save it smaller"
    if name == "BMP" and len(encoded) < _bmp_end(encoded):
        return "a BMP that is cut off; get the file again"
    return _slow_to_decode(encoded, name, pixels)


def _pixels(found: list[tuple[int, int]]) -> int:
    """What a decoder makes room for: a GIF's frames, and one that fits them all and the screen."""
    frames = found[1:] or found
    fitting = max(width for width, _ in found) * max(height for _, height in found)
    return max(sum(width * height for width, height in frames), fitting)


def _slow_to_decode(encoded: bytes, name: str, pixels: int) -> str:
    """Why a small picture would take long to decode; "" if it would not."""
    if name == "JPEG":
        scans = sum(encoded.count(start) for start in SCAN_STARTS)
        most = min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels)
        if scans > most:
            return f"a JPEG of {scans:,} scans, expected at most {most}; save it again"
    if name == "PNG":
        texts = sum(encoded.count(text) for text in PACKED_TEXTS)
        if texts > MAX_TEXTS:
            return f"a PNG of {texts:,} packed texts, expected at most {MAX_TEXTS}; save it again"
    return ""


def _kind(encoded: bytes) -> str:
    """What a file that is no picture of ours is, as far as its first bytes tell."""
    if encoded[4:8] == b"ftyp":
        return {b"avif": "an AVIF picture", b"avis": "an AVIF picture"}.get(
            encoded[8:12], "a HEIC picture" if encoded[8:12] in _HEIC else "a film"
        )
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "a WebP picture"
    for magic, kind in _OTHERS.items():
        if encoded.startswith(magic):
            return kind
    text = encoded[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if file_kinds.is_html(encoded[:1024]):
        return "an HTML page"
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in text:
        return "an SVG drawing"
    return "no picture"


_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif")
_OTHERS = {
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF document",
    b"8BPS": "a Photoshop picture",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"PK\x03\x04": "a ZIP archive",
    file_kinds.GZIP: "a gzip archive",
}


def _png_size(encoded: bytes) -> Iterator[tuple[int, int]]:
    length, name, width, height, *_ = struct.unpack_from(">I4s2I5BI", encoded, 8)
    if name != b"IHDR" or length != 13:
        raise ValueError("without its header")
    yield width, height


def _jpeg_size(encoded: bytes) -> Iterator[tuple[int, int]]:
    _, height, width = struct.unpack_from(">B2H", encoded, _jpeg_frame(encoded) + 3)
    yield width, height


def _jpeg_frame(encoded: bytes) -> int:
    """The place of the marker, after its 0xFF, of the frame that says the size."""
    place = 2
    while True:
        if encoded[place] != 0xFF:
            raise ValueError("whose segments do not follow each other")
        while encoded[place] == 0xFF:  # As many as there are: they fill.
            place += 1
        marker = encoded[place]
        if marker in (0xD9, 0xDA):
            raise ValueError("without its size")
        if marker in _JPEG_FRAMES:
            struct.unpack_from(">HB2HB", encoded, place + 1)  # It is all there.
            return place
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        length = 0 if alone else struct.unpack_from(">H", encoded, place + 1)[0]
        if not alone and length < 2:
            raise ValueError("whose segments do not follow each other")
        place += 1 + length


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _gif_sizes(encoded: bytes) -> Iterator[tuple[int, int]]:
    """The sizes of the screen and of all frames, which TensorFlow inflates to return the first.

    An export inflates the first alone, but those of earlier versions are to be asked, too.
    """
    width, height, flags, _, _ = struct.unpack_from("<2H3B", encoded, 6)
    yield width, height  # The screen.
    place = 13 + _palette(flags)
    frames = 0
    while place < len(encoded) and encoded[place] != 0x3B:
        kind = encoded[place]
        if kind == 0x2C:
            left, top, *size, flags = struct.unpack_from("<4HB", encoded, place + 1)
            # TensorFlow takes it for the whole picture. A huge screen is refused for its size.
            fills = not left and not top and size[0] >= width and size[1] >= height
            if not frames and not fills and width * height <= MAX_PIXELS:
                raise ValueError("whose first frame does not fill it")
            frames += 1
            yield size[0], size[1]
            place += 11 + _palette(flags)
        elif kind == 0x21:
            # TensorFlow takes what is transparent for black.
            if not frames and encoded[place + 1] == 0xF9 and encoded[place + 3] & 1:
                raise ValueError("with a transparent colour")
            place += 2
        else:
            raise ValueError("whose blocks do not follow each other")
        while place < len(encoded) and encoded[place]:
            place += 1 + encoded[place]
        place += 1
    if not frames:
        raise IndexError


def _palette(flags: int) -> int:
    """The bytes of a GIF's table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


MAX_BMP_HEADER = 124  # Of its fifth version.
BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)  # Of red, green and blue.


def _bmp_size(encoded: bytes) -> Iterator[tuple[int, int]]:
    start, header = struct.unpack_from("<2I", encoded, 10)
    if header < 40:
        raise ValueError("of OS/2")
    if header > MAX_BMP_HEADER or start < 14 + header:
        raise ValueError("whose header is too long")
    width, height, _, bits, packed = struct.unpack_from("<2i2HI", encoded, 18)
    # TensorFlow reads these as they stand, and others as if they were these.
    if bits not in (8, 24, 32) or packed not in (0, 3):
        raise ValueError(f"of {bits} bits a pixel{' and packed' if packed else ''}")
    if packed and struct.unpack_from("<3I", encoded, 54) != BMP_MASKS:
        raise ValueError("whose colours are in another order than usual")
    if bits == 8:
        colours = min(struct.unpack_from("<I", encoded, 46)[0] or 256, 256)
        table = encoded[14 + header : min(start, 14 + header + 4 * colours)]
        greys = [table[first : first + 3] for first in range(0, len(table) - 3, 4)]
        if any(grey != bytes([place] * 3) for place, grey in enumerate(greys)):
            raise ValueError("with a table of colours")
    yield width, abs(height)  # Below zero: its rows go from the top down.


def _bmp_end(encoded: bytes) -> int:
    start, _, width, height, _, bits = struct.unpack_from("<2I2i2H", encoded, 10)
    return start + (width * bits // 8 + 3) // 4 * 4 * abs(height)


_HEADERS = {
    "PNG": (b"\x89PNG\r\n\x1a\n", _png_size),
    "JPEG": (b"\xff\xd8\xff", _jpeg_size),
    "GIF": ((b"GIF87a", b"GIF89a"), _gif_sizes),
    "BMP": (b"BM", _bmp_size),
}


def image_shape(encoded: bytes) -> tuple[int, int, int]:
    """Height, width and channels (1 grey, 3 colours) of a picture once it stands upright.

    Args:
      encoded: a file with which `problem` finds nothing wrong.
    """
    name = next(name for name in _HEADERS if encoded.startswith(_HEADERS[name][0]))
    *_, (width, height) = itertools.islice(_HEADERS[name][1](encoded), 2)  # A GIF's first frame.
    if _lies_on_its_side(encoded, _EXIF.get(name)):
        width, height = height, width
    return height, width, 1 if _CHANNELS[name](encoded) in (1, 2) else 3


def _png_channels(encoded: bytes) -> int:
    return {0: 1, 4: 2}.get(encoded[25], 3)  # The type of its colours: others have, or index, some.


def _jpeg_channels(encoded: bytes) -> int:
    return encoded[_jpeg_frame(encoded) + 8]


def _bmp_channels(encoded: bytes) -> int:
    return struct.unpack_from("<H", encoded, 28)[0] // 8


def _lies_on_its_side(encoded: bytes, exif: bytes | None) -> bool:
    """Whether the orientation behind `exif`, as `decoding` reads it, swaps height and width."""
    head = encoded[: 1 << 16]
    place = head.find(exif) if exif else -1
    if place < 0:
        return False
    tiff = place + len(exif)
    order = "<" if head[tiff : tiff + 1] == b"I" else ">"
    try:
        directory = tiff + struct.unpack_from(f"{order}I", head, tiff + 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", head, directory)[0]):
            tag, kind = struct.unpack_from(f"{order}2H", head, directory + 2 + 12 * entry)
            if (tag, kind) == (0x0112, 3):
                place = directory + 2 + 12 * entry + 8
                return 5 <= struct.unpack_from(f"{order}H", head, place)[0] <= 8
    except struct.error:
        pass
    return False


_EXIF = {"JPEG": b"Exif\0\0", "PNG": b"eXIf"}
_CHANNELS = {
    "PNG": _png_channels,
    "JPEG": _jpeg_channels,
    "GIF": lambda encoded: 3,
    "BMP": _bmp_channels,
}
