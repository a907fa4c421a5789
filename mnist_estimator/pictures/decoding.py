"""Files of pictures in the graph: what is wrong with them, and what they show, upright."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mnist_estimator.compat import tf
from mnist_estimator.pictures.picture_files import (
    BMP_MASKS,
    MAX_BMP_HEADER,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SCANNED_PIXELS,
    MAX_SCANS,
    MAX_TEXTS,
    PACKED_TEXTS,
    SCAN_STARTS,
)

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_GIFS = (b"GIF87a", b"GIF89a")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_KEY = b"tRNS"  # Of a PNG without alpha: a transparent colour, or a table of them.
_PNG_PIXELS = b"IDAT"
_JPEG_END = b"\xff\xd9"
# What a decoder reads as the rest of a scan, one or the other, wherever the scan was cut off: after
# an 0xFF, in the middle, or where one of eight restart markers is due. It waits for that marker if
# the first that it finds is one of the next two, hence two orders. The marker 0x01 has no meaning.
_RESTARTS = (*range(0xD0, 0xD8),)
_MORE_OF_A_SCAN = tuple(
    b"\0" + b"".join(31 * b"\x55" + bytes([0xFF, marker]) for marker in (0x01, *restarts, 0xD9))
    for restarts in (_RESTARTS, _RESTARTS[4:] + _RESTARTS[:4])
)
_HEAD_BYTES = 1 << 16  # Where EXIF's orientation is looked for.
# How far the first frame of a GIF is looked for: pieces, of which a run of full ones counts once.
_MOST_PIECES = 10_000
_FULL_BYTES, _RUN = 256, 1024
_AT_BLOCK, _IN_EXTENSION, _IN_FRAME, _WHOLE, _DAMAGED, _TRANSPARENT, _PARTIAL = range(7)
_BMP_HEAD_BYTES = 1 << 11  # More than its longest header and a table of 256 colours.


class Files(NamedTuple):
    """What is known of files of pictures before they are decoded.

    Attributes:
      problems: string [N], what is wrong with each as far as can be told; else "".
      ends: int32 [N], how many bytes of it the decoder is to get.
      suffixes: string [N], what is to follow them.
      orientations: int64 [N], by EXIF: 1 to 8.
      keyed: bool [N], whether a PNG has a transparent colour, or a table of them.
    """

    problems: tf.Tensor
    ends: tf.Tensor
    suffixes: tf.Tensor
    orientations: tf.Tensor
    keyed: tf.Tensor


def examined(encoded: tf.Tensor) -> Files:
    """Looks at files, string [N], without decoding them.

    Damage between the beginning and the end of a file is not found. A decoder fails at it, or takes
    it for a part of the picture.
    """
    is_png, is_jpeg, is_bmp = (_begins(encoded, magic) for magic in (_PNG, _JPEG, _BMP))
    is_gif = _begins(encoded, _GIFS[0]) | _begins(encoded, _GIFS[1])
    is_known = is_png | is_jpeg | is_gif | is_bmp
    lengths = tf.strings.length(encoded)
    is_short = lengths <= MAX_FILE_BYTES
    is_png, is_jpeg, is_gif, is_bmp = (
        is_short & kind for kind in (is_png, is_jpeg, is_gif, is_bmp)
    )
    lacks_end = is_jpeg & ~_ends(encoded, lengths, _JPEG_END)

    none = tf.zeros_like(lengths)
    no_frame = (none, lengths, tf.zeros_like(lengths, tf.float64))
    states, ends, frame_pixels = _of_those(is_gif, encoded, _first_frame, no_frame)
    scans, jpeg_pixels = _of_those(is_jpeg, encoded, _scans_and_pixels, (none, no_frame[2]))
    texts, png_ends, keys = _of_those(is_png, encoded, _words_of_png, (none, none, none))
    odd, ends = _of_those(is_bmp, encoded, _kind_and_end_of_bmp, (tf.zeros_like(is_bmp), ends))
    pixels = tf.where(is_jpeg, jpeg_pixels, _declared_pixels(encoded, is_png, is_bmp))
    pixels = tf.where(pixels < 1, pixels, tf.maximum(pixels, frame_pixels))
    scanned = tf.cast(scans, tf.float64) * pixels
    slow = (scans > MAX_SCANS) | (scanned > MAX_SCANNED_PIXELS) | (texts > MAX_TEXTS)
    is_cut = (is_png & (png_ends < 1)) | (is_gif & tf.not_equal(states, _WHOLE))
    is_cut |= lengths < ends
    doubtful = lacks_end & (pixels <= MAX_PIXELS) & ~slow
    is_cut |= _of_those(doubtful, encoded, _lacks_more_than_its_end, (is_cut,))[0]
    problems = tf.where(is_cut, "a picture that is cut off; get the file again", "")
    for wrong, line in (
        (tf.equal(states, _DAMAGED), "a GIF whose blocks do not follow each other; save it as PNG"),
        (tf.equal(states, _TRANSPARENT), "a GIF with a transparent colour; save it as PNG"),
        (tf.equal(states, _PARTIAL), "a GIF whose first frame does not fill it; save it as PNG"),
        (slow, f"more than {MAX_SCANS} scans, or than {MAX_TEXTS} packed texts; save it again"),
        (pixels > MAX_PIXELS, f"more than {MAX_PIXELS:,} pixels; save it smaller"),
        (pixels < 1, "a picture without pixels"),
        (odd, "a BMP of a kind that is not read; save it as PNG"),
        (~is_short, f"larger than {MAX_FILE_BYTES >> 20} MiB; save it smaller"),
        (~is_known, "no PNG, JPEG, GIF or BMP; save it as PNG or JPEG"),
    ):
        problems = tf.where(wrong, line, problems)
    suffixes = tf.where(lacks_end, _JPEG_END, tf.where(is_gif, b";", b""))
    return Files(problems, ends, suffixes, _orientations(encoded, is_png, is_jpeg), keys > 0)


def decoded(
    encoded: tf.Tensor, orientation: tf.Tensor, keyed: tf.Tensor, longest: int
) -> tf.Tensor:
    """Decodes one PNG, JPEG, GIF (its first frame) or BMP file.

    Args:
      encoded: string [], a file that ends as `examined` says.
      orientation: int64 [], by EXIF.
      keyed: bool [], as of `Files`.
      longest: pixels of the longer side, at most; a larger picture is shrunk.

    Returns:
      float32 [h,w,1 to 4], from 0 to 255 (of 16 bits the upper 8), upright; 2 and 4 channels end
      with alpha.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if the file cannot be decoded.
    """
    pixels = tf.cond(
        keyed,
        lambda: tf.io.decode_png(encoded, channels=4),
        lambda: tf.io.decode_image(encoded, expand_animations=False),
    )
    pixels = shrunk(pixels, longest)
    return tf.cond(
        tf.equal(orientation, 1),
        lambda: tf.identity(pixels),
        lambda: _upright(pixels, orientation),
    )


def shrunk(pixels: tf.Tensor, side: int) -> tf.Tensor:
    """Averages [h,w,c] over areas so that no side is longer than `side`: float32."""
    shape = tf.shape(pixels)[:2]
    longer = tf.reduce_max(shape)

    def averaged():
        size = tf.cast(shape, tf.float32) * (side / tf.cast(longer, tf.float32))
        size = tf.maximum(tf.cast(tf.round(size), tf.int32), 1)
        return tf.raw_ops.ResizeArea(images=pixels[None], size=size)[0]

    return tf.cond(longer > side, averaged, lambda: tf.cast(pixels, tf.float32))


def _of_those(
    chosen: tf.Tensor, encoded: tf.Tensor, look: Callable, others: tuple[tf.Tensor, ...]
) -> list[tf.Tensor]:
    """What `look` finds in each file that is chosen, a tuple [N]; of the others, `others`."""
    places = tf.where(chosen)
    found = tf.map_fn(
        # AutoGraph has nothing to convert, and warns of it.
        tf.autograph.experimental.do_not_convert(lambda place: look(tf.gather(encoded, place))),
        places[:, 0],
        fn_output_signature=tuple(tf.TensorSpec([], other.dtype) for other in others),
        parallel_iterations=2,
    )
    return [
        tf.tensor_scatter_nd_update(other, places, new)
        for other, new in zip(others, found, strict=True)
    ]


def _scans_and_pixels(encoded: tf.Tensor):
    """How many scans a JPEG has, int32 [], and its height times its width, float64 []."""
    height_and_width = tf.io.extract_jpeg_shape(encoded)[:2]
    pixels = tf.reduce_prod(tf.cast(height_and_width, tf.float64))
    return _count(encoded, SCAN_STARTS), pixels


def _words_of_png(encoded: tf.Tensor):
    """How many packed texts, ends and transparent colours a PNG has, each int32 [].

    A text before the pixels may hold the last one's name. The picture is then decoded to RGBA.
    """
    head = tf.raw_ops.StringSplitV2(input=encoded[None], sep=_PNG_PIXELS, maxsplit=1).values[0]
    return _count(encoded, PACKED_TEXTS), _count(encoded, [_PNG_END]), _count(head, [_PNG_KEY])


def _kind_and_end_of_bmp(encoded: tf.Tensor):
    """Looks at the header of a BMP, as `picture_files.problem` does.

    Returns:
      bool [], whether TensorFlow refuses it or takes it for another kind.
      int32 [], the bytes that it has, or is to have: TensorFlow refuses a file with more.
    """
    start = tf.strings.substr(encoded, 0, _BMP_HEAD_BYTES)
    # Zeros behind, for what is read beyond the end.
    head = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int64)
    head = tf.pad(head, [[0, _BMP_HEAD_BYTES]])

    def number(place: int, size: int):
        return tf.reduce_sum(head[place : place + size] * [256**i for i in range(size)])

    pixels, table, bits, packed = number(10, 4), 14 + number(14, 4), number(28, 2), number(30, 4)
    colours = tf.minimum(number(46, 4), 256)
    colours = tf.where(colours > 0, colours, tf.constant(256, tf.int64))
    masks = tf.stack([number(54 + 4 * place, 4) for place in range(3)])
    entries = tf.reshape(head[tf.minimum(table, _BMP_HEAD_BYTES - 1024) :][:1024], [256, 4])[:, :3]
    greys = tf.range(256, dtype=tf.int64)
    is_grey = tf.reduce_all(tf.equal(entries, greys[:, None]), 1) | (greys >= colours)
    is_grey |= table + 4 * greys + 4 > pixels
    is_usual = tf.reduce_all(tf.equal(masks, BMP_MASKS))
    is_known = tf.equal(packed, 0) | (tf.equal(packed, 3) & is_usual)
    is_known &= tf.reduce_any(tf.equal(bits, [8, 24, 32]))
    is_known &= (table >= 54) & (table <= MAX_BMP_HEADER + 14) & (pixels >= table)
    is_odd = ~is_known | (tf.equal(bits, 8) & ~tf.reduce_all(is_grey))
    width, height = number(18, 4), number(22, 4)
    height = tf.minimum(height, 256**4 - height)  # Below zero: its rows go from the top down.
    row = (width * bits // 8 + 3) // 4 * 4
    end = tf.cast(pixels, tf.float64) + tf.cast(row, tf.float64) * tf.cast(height, tf.float64)
    return is_odd, tf.cast(tf.minimum(end, 2.0**31 - 1), tf.int32)


def _begins(encoded: tf.Tensor, magic: bytes):
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def _ends(encoded: tf.Tensor, lengths: tf.Tensor, last: bytes):
    starts = tf.maximum(lengths - len(last), 0)
    return tf.equal(tf.strings.substr(encoded, starts, tf.fill(tf.shape(starts), len(last))), last)


def _count(encoded: tf.Tensor, words: Sequence[bytes]):
    """How often any of `words` stands in a file, int32 []."""
    pieces = [tf.raw_ops.StringSplitV2(input=encoded[None], sep=word).values for word in words]
    return tf.add_n([tf.size(found) - 1 for found in pieces])


def _first_frame(encoded: tf.Tensor):
    """Looks for the first frame of a GIF.

    Returns:
      state: int32 []; _WHOLE if all of it is there, _DAMAGED if something else is, or it is in too
        many pieces; _TRANSPARENT, which TensorFlow shows as black; _PARTIAL, where it takes a frame
        for the whole picture; others where the file ends before.
      end: int32 [], the bytes of the file up to its end.
      pixels: float64 [], its height times its width.
    """
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    # Zeros behind, for what is read beyond the end.
    content = tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, 16]])

    def goes_on(state: tf.Tensor, place: tf.Tensor, _: tf.Tensor, pieces: tf.Tensor):
        return (state < _WHOLE) & (place < length) & (pieces < _MOST_PIECES)

    def step(state: tf.Tensor, place: tf.Tensor, pixels: tf.Tensor, pieces: tf.Tensor):
        head = tf.cast(content[place : place + 10], tf.int64)
        is_frame, is_extension = tf.equal(head[0], 0x2C), tf.equal(head[0], 0x21)
        start = tf.where(is_frame, place + 11 + _palette(head[9]), place + 2)
        is_transparent = tf.equal(head[1], 0xF9) & tf.equal(head[3] & 1, 1)
        kind = tf.where(is_transparent, _TRANSPARENT, _IN_EXTENSION)
        kind = tf.where(is_extension, kind, _DAMAGED)
        frame = head[1:9:2] + 256 * head[2:10:2]  # Left, top, width and height.
        fills = tf.reduce_all(frame[:2] < 1) & tf.reduce_all(frame[2:] >= screen)
        is_partial = ~fills & (place + 10 <= length)
        kind = tf.where(is_frame, tf.where(is_partial, _PARTIAL, _IN_FRAME), kind)
        size = tf.cast(frame[2:], tf.float64)
        # Most of what follows are pieces as long as can be.
        run = content[place : place + _RUN * _FULL_BYTES : _FULL_BYTES]
        full = tf.reduce_sum(tf.math.cumprod(tf.cast(tf.equal(run, 255), tf.int64)))
        last = place + _FULL_BYTES * full
        piece = tf.cast(content[tf.minimum(last, length)], tf.int64)
        is_last = tf.equal(piece, 0) & (last < length)
        closed = tf.where(tf.equal(state, _IN_FRAME), _WHOLE, _AT_BLOCK)
        at_block = tf.equal(state, _AT_BLOCK)
        return (
            tf.where(at_block, kind, tf.where(is_last, closed, state)),
            tf.where(at_block, start, last + 1 + piece),
            tf.where(at_block & is_frame, tf.reduce_prod(size), pixels),
            pieces + 1,
        )

    screen = tf.cast(content[6:10:2], tf.int64) + 256 * tf.cast(content[7:11:2], tf.int64)
    palette = _palette(tf.cast(content[10], tf.int64))
    begin = (tf.constant(_AT_BLOCK), 13 + palette, tf.constant(0, tf.float64), tf.constant(0))
    state, end, pixels, pieces = tf.while_loop(goes_on, step, begin, parallel_iterations=1)
    state = tf.where((pieces >= _MOST_PIECES) & (state < _WHOLE), _DAMAGED, state)
    return state, tf.cast(tf.minimum(end, length), tf.int32), pixels


def _palette(flags: tf.Tensor):
    """The bytes of a GIF's table of colours, int64 []."""
    size = tf.bitwise.left_shift(tf.constant(6, tf.int64), flags & 7)
    return tf.where(flags >= 128, size, tf.zeros_like(size))


def _pixels(encoded: tf.Tensor, more: tf.Tensor | bytes):
    """Decodes a file, and what is to follow it, to uint8 [h,w,1 to 4]."""
    return tf.io.decode_image(tf.strings.join([encoded, more]), expand_animations=False)


def _lacks_more_than_its_end(encoded: tf.Tensor):
    """Whether a JPEG without its last two bytes does not show all of its picture.

    Else its decoder takes no part of what follows for the picture, whatever that is.
    """
    alone = _pixels(encoded, _JPEG_END)
    one, other = (_pixels(encoded, more) for more in _MORE_OF_A_SCAN)
    return (~tf.reduce_all(tf.equal(alone, one) & tf.equal(alone, other)),)


def _declared_pixels(encoded: tf.Tensor, is_png: tf.Tensor, is_bmp: tf.Tensor):
    """Height times width of PNG, BMP and GIF files by their headers, float64 [N]."""
    head = tf.strings.substr(encoded, 0, 26)
    head = tf.cast(tf.io.decode_raw(head, tf.uint8, fixed_length=26), tf.float64)

    def number(place: int, size: int, step: int = 1):
        digits = head[:, place : place + size][:, ::step]
        return tf.linalg.matvec(
            digits, tf.constant([256.0 ** (size - 1 - i) for i in range(size)], tf.float64)
        )

    png = number(16, 4) * number(20, 4)
    gif = number(6, 2, -1) * number(8, 2, -1)
    height = number(22, 4, -1)  # Below zero: its rows go from the top down.
    bmp = number(18, 4, -1) * tf.minimum(height, 256.0**4 - height)
    return tf.where(is_png, png, tf.where(is_bmp, bmp, gif))


def _orientations(encoded: tf.Tensor, is_png: tf.Tensor, is_jpeg: tf.Tensor):
    """EXIF's orientation of JPEG and PNG files, int64 [N]: 1 to 8; 1 without one that makes sense.

    Phones save what their sensor sees and note how it was held; TensorFlow ignores the note. It is
    found in the first 64 KiB of a file, where all programs known to write it do so.
    """
    heads = tf.strings.substr(encoded, 0, _HEAD_BYTES)
    # \C is any byte, whatever the encoding.
    has_exif = tf.strings.regex_full_match(heads, r"\C*(Exif\x00\x00|eXIf)\C*")
    upright = tf.ones_like(heads, tf.int64)
    return _of_those(has_exif & (is_png | is_jpeg), heads, _orientation, (upright,))[0]


def _orientation(encoded: tf.Tensor):
    magic = tf.where(_begins(encoded, _PNG), b"eXIf", b"Exif\0\0")
    behind = tf.raw_ops.StringSplitV2(input=encoded[None], sep=magic, maxsplit=1).values[1]
    # Zeros behind, so that what points beyond the end finds nothing.
    tiff = tf.pad(tf.cast(tf.io.decode_raw(behind, tf.uint8), tf.int64), [[0, 1024]])
    little = tf.equal(tiff[0], ord("I"))
    start = tf.reshape(tiff[4:8], [2, 2])
    offset = _word(_word(start, little), little, 1 << 16)
    directory = tiff[tf.minimum(offset, tf.size(tiff, tf.int64) - 770) :][:770]
    words = _word(tf.reshape(directory, [-1, 2]), little)
    entries = tf.reshape(words[1:], [64, 6])  # Tag, kind, two of the count, value, nothing.
    ours = (
        (tf.range(64, dtype=tf.int64) < words[0])
        & tf.equal(entries[:, 0], 0x0112)
        & tf.equal(entries[:, 1], 3)
    )
    value = tf.reduce_max(tf.where(ours, entries[:, 4], 0))
    return (tf.where((value >= 1) & (value <= 8), value, 1),)


def _word(pairs: tf.Tensor, little: tf.Tensor, base: int = 256):
    """Numbers of two digits each, int64 [...,2], the last one first or last."""
    weights = tf.constant([[base, 1], [1, base]], tf.int64)
    return tf.reduce_sum(pairs * tf.gather(weights, tf.cast(little, tf.int32)), -1)


def _upright(pixels: tf.Tensor, orientation: tf.Tensor):
    """Turns and mirrors [h,w,c] as EXIF's orientation says."""

    def among(*values: int):
        return tf.reduce_any(tf.equal(orientation, tf.constant(values, tf.int64)))

    turned = tf.cond(
        orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: tf.identity(pixels)
    )
    rows = tf.range(tf.shape(turned)[0])
    columns = tf.range(tf.shape(turned)[1])
    rows = tf.where(among(3, 4, 7, 8), tf.reverse(rows, [0]), rows)
    columns = tf.where(among(2, 3, 6, 7), tf.reverse(columns, [0]), columns)
    return tf.gather(tf.gather(turned, rows), columns, axis=1)
