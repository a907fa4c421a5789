"""Which column of a CSV file is the label, and which is which pixel: by names and by content."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mnist_estimator import InputError

FIRST, LAST = "first", "last"
LABELS = frozenset(["label", "labels", "class", "classes", "target", "y", "category", "digit"])
_IDS = frozenset(
    [
        *("", "id", "ids", "index", "idx", "key", "uuid", "row", "rowid", "row_id", "rownames"),
        *("image", "imageid", "image_id", "filename"),
        # As pandas, R and Arrow name what they number lines with.
        *("unnamed: 0", "level_0", "row.names", "__index_level_0__"),
    ]
)
_PIXEL_WORD = re.compile(r"(pixel|pix|px)s?[^a-z]*", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_ROWS, _COLUMNS = frozenset(["r", "row", "rows"]), frozenset(["c", "col", "column", "columns"])
_CHOOSE = "say which one is the label with --label_column=NAME, first or last"


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where a line's label stands, and where its pixels, in the order of the image.

    Attributes:
      label: index of the label's field.
      pixels: what selects the pixels of an array of fields.
      image_shape: (H, W, 1), if the names of the pixels say it.
      certain: whether the header or the user says which column is the label.
      warning: what is doubtful, or "".
    """

    label: int
    pixels: slice | np.ndarray
    image_shape: tuple[int, int, int] | None = None
    certain: bool = False
    warning: str = ""


def find(
    path: str,
    names: Sequence[str],
    num_fields: int,
    asked: str = "",
    image_shape: tuple[int, int, int] | None = None,
) -> Columns:
    """Finds the columns of a file whose lines have `num_fields` fields.

    Args:
      names: the header's, or none.
      asked: the label column's name, "first", "last", or "" for what the header says, else first.
      image_shape: (H, W, C) that the images must have.

    Raises:
      InputError: if there is no label, a column is no pixel, or a pixel is missing or there twice.
    """
    if len(names) == num_fields - 1:
        raise InputError(
            f"{path}: {len(names)} names of columns but {num_fields} fields a line, as R writes "
            "them with row names; write it again without them (row.names = FALSE)"
        )
    if len(names) == num_fields:
        return _by_name(path, list(names), asked, image_shape)
    if asked not in ("", FIRST, LAST):
        raise InputError(
            f"{path}: no header line that names its {num_fields} columns, so none is {asked!r} "
            f"(--label_column); give {FIRST} or {LAST}"
        )
    columns = _all_but(num_fields, num_fields - 1 if asked == LAST else 0, certain=bool(asked))
    if not names:
        return columns
    warning = (
        f"{path}: found {len(names)} names of columns but {num_fields} fields a line; took no "
        "notice of the names"
    )
    return dataclasses.replace(columns, warning=warning)


def _all_but(num_fields: int, label: int, *, certain: bool) -> Columns:
    """The label at `label`, and the pixels as they stand."""
    if label == 0:
        pixels = slice(1, None)
    elif label == num_fields - 1:
        pixels = slice(0, label)
    else:
        pixels = np.delete(np.arange(num_fields), label)
    return Columns(label, pixels, certain=certain)


def _by_name(
    path: str, names: list[str], asked: str, image_shape: tuple[int, int, int] | None
) -> Columns:
    label = _named_label(path, names, asked)
    certain = label is not None
    _refuse_ids(path, names, label)
    label = _unnamed_label(path, names, image_shape) if label is None else label
    rest = [column for column in range(len(names)) if column != label]
    order, grid, warning = _order(path, names, rest, image_shape)
    if order == rest:
        columns = _all_but(len(names), label, certain=certain)
    else:
        columns = Columns(label, np.array(order), certain=certain)
    return dataclasses.replace(columns, image_shape=grid, warning=warning)


def _named_label(path: str, names: Sequence[str], asked: str) -> int | None:
    if asked in (FIRST, LAST):
        return 0 if asked == FIRST else len(names) - 1
    if asked:
        same = [column for column, name in enumerate(names) if name == asked]
        same = same or [i for i, name in enumerate(names) if name.lower() == asked.lower()]
        if len(same) != 1:
            raise InputError(
                f"{path}: {len(same)} columns are named {asked!r} (--label_column), expected one; "
                f"the columns are {_list(names)}"
            )
        return same[0]
    found = [column for column, name in enumerate(names) if name.lower() in LABELS]
    if len(found) > 1:
        both = " and ".join(_describe(names, column) for column in found[:2])
        raise InputError(f"{path}: {both} may both be the label; {_CHOOSE}, and delete the other")
    return found[0] if found else None


def _refuse_ids(path: str, names: Sequence[str], label: int | None) -> None:
    for column, name in enumerate(names):
        if column != label and name.lower() in _IDS:
            also = "" if label is not None else ", and no column is named label"
            raise InputError(
                f"{path}: {_describe(names, column)}, no label and no pixel{also}; delete that "
                "column (pandas: to_csv(index=False); R: row.names = FALSE)"
            )


def _unnamed_label(
    path: str, names: Sequence[str], image_shape: tuple[int, int, int] | None
) -> int:
    """The first column, unless the names say that it is a pixel."""
    series = _main_series(names)
    odd = [column for column in range(len(names)) if _skeleton(names[column]) != series]
    if series is None or odd[:1] == [0] or len(odd) > len(names) // 2:
        return 0
    if odd:
        described = _describe_strangers(names, odd, 0)
        raise InputError(f"{path}: no column is named label: {described}")
    pixels = math.prod(image_shape) if image_shape else math.isqrt(len(names)) ** 2
    if len(names) == pixels or _PIXEL_WORD.fullmatch(series):
        raise InputError(
            f"{path}: {len(names)} columns {_list(names)} and no label: the examples have none, as "
            "in a file that is there to be predicted; give one with a column named label (predict "
            "takes pictures, not CSV)"
        )
    return 0


def _order(
    path: str,
    names: Sequence[str],
    rest: list[int],
    image_shape: tuple[int, int, int] | None,
) -> tuple[list[int], tuple[int, int, int] | None, str]:
    """Returns the pixels' columns in the image's order, the shape that names say, and a warning."""
    groups = collections.defaultdict(list)
    for column in rest:
        groups[_skeleton(names[column])].append(column)
    main = max(groups, key=lambda kind: len(groups[kind]))
    if _are_channels(groups):
        return _channels(path, names, _by_channel(groups), image_shape), None, ""
    if "#" not in main or len(groups[main]) * 2 <= len(rest):
        return rest, None, ""  # The names say nothing.
    if len(groups) > 1:
        strangers = [column for column in rest if _skeleton(names[column]) != main]
        raise InputError(f"{path}: {_describe_strangers(names, strangers, groups[main][0])}")
    order, grid = _sorted(path, names, rest)
    axes = _axes(names, rest)
    if grid is None or order == rest or set(axes[:2]) == {"row", "column"}:
        return order, grid, ""
    if axes[:2] == ["x", "y"] or rest != sorted(rest, key=lambda column: names[column]):
        raise InputError(
            f"{path}: {_describe(names, rest[0])} and {_describe(names, rest[1])}: cannot tell "
            "rows from columns; put the pixels row by row, and name them pixel0, pixel1, ..."
        )
    warning = (
        f"{path}: found columns sorted as text ({_list([names[column] for column in rest])}); took "
        "the first number for the row; if it is not, put the pixels row by row"
    )
    return order, grid, warning


def _are_channels(groups: Mapping[str, list[int]]) -> bool:
    """Whether the columns are of a few kinds of equal number, as R0, ..., G0, ..., B0, ... are."""
    sizes = {len(kind) for kind in groups.values()}
    return 2 <= len(groups) <= 4 and len(sizes) == 1 and all("#" in kind for kind in groups)


def _by_channel(groups: Mapping[str, list[int]]) -> list[list[int]]:
    """The kinds of columns: red, green, blue and alpha, or others by their names.

    The order in which they stand may be another one in the test files, as of columns that were
    sorted as text.
    """
    start = len(os.path.commonprefix([*groups]))  # noqa: RUF071 (of letters, as in pixelR0)
    words = {kind: re.findall("[a-z]+", kind[start:]) for kind in groups}
    shared = set.intersection(*map(set, words.values()))

    def place(kind: str) -> tuple[int, str]:
        own = [word for word in words[kind] if word not in shared] or ["?"]
        return "rgb?a".find(own[0][0] if own[0][0] in "rgba" else "?"), kind

    return [groups[kind] for kind in sorted(groups, key=place)]


def _channels(
    path: str,
    names: Sequence[str],
    kinds: Sequence[list[int]],
    image_shape: tuple[int, int, int] | None,
) -> list[int]:
    """Brings a pixel's channels side by side."""
    if not image_shape or image_shape[2] != len(kinds):
        firsts = ", ".join(names[kind[0]] for kind in kinds)
        raise InputError(
            f"{path}: found {len(kinds)} kinds of columns ({firsts}), expected one; if they are "
            f"the channels of a pixel say --image_shape=H,W,{len(kinds)}"
        )
    ordered = [_sorted(path, names, kind)[0] for kind in kinds]
    return [column for pixel in zip(*ordered, strict=True) for column in pixel]


def _describe_strangers(names: Sequence[str], strangers: Sequence[int], pixel: int) -> str:
    described = _describe(names, strangers[0])
    if len(strangers) > 1 and re.split("[^a-z]", names[strangers[0]].lower())[0] in LABELS:
        return (
            f"{len(strangers)} columns of one-hot labels, of which {described}; expected one "
            "column with the number of the class (pandas: frame[columns].to_numpy().argmax(1))"
        )
    return (
        f"{described}, expected a pixel such as {names[pixel]!r}; delete that column, or name it "
        "with --label_column if it is the label"
    )


def _sorted(
    path: str, names: Sequence[str], columns: list[int]
) -> tuple[list[int], tuple[int, int, int] | None]:
    """Sorts columns by the numbers in their names; returns them, and (H, W, 1) if the names say it.

    The first number is the row, unless the names say that it is the column.

    Raises:
      InputError: if a number is missing or there twice, or channels come first.
    """
    numbers = {column: tuple(map(int, _DIGITS.findall(names[column]))) for column in columns}
    varying = _varying(names, columns)
    if _axes(names, columns)[:2] in (["column", "row"], ["x", "y"]):
        varying[:2] = varying[1::-1]
    keys = {column: tuple(numbers[column][place] for place in varying) for column in columns}
    order = sorted(columns, key=lambda column: keys[column])
    for before, after in itertools.pairwise(order):
        if keys[before] == keys[after]:
            raise InputError(
                f"{path}: {_describe(names, before)} and {_describe(names, after)}, expected each "
                "pixel once"
            )
    axes = [sorted({key[place] for key in keys.values()}) for place in range(len(varying))]
    _check_complete(f"{path}: found {names[order[0]]!r} to {names[order[-1]]!r}", axes, len(order))
    sizes = [len(axis) for axis in axes]
    if len(sizes) == 3 and sizes[0] <= 4 < min(sizes[1:]):
        raise InputError(
            f"{path}: found {names[order[0]]!r} to {names[order[-1]]!r}, whose first number counts "
            f"{sizes[0]}, as that of channels does; put the channels of a pixel side by side "
            "(NumPy: images.transpose(0, 2, 3, 1))"
        )
    return order, _grid(sizes)


def _varying(names: Sequence[str], columns: Sequence[int]) -> list[int]:
    """The places of the numbers that tell columns apart; all share that of mnist784_pixel0."""
    every = zip(*(_DIGITS.findall(names[column]) for column in columns), strict=True)
    return [place for place, numbers in enumerate(every) if len(set(map(int, numbers))) > 1]


def _axes(names: Sequence[str], columns: Sequence[int]) -> list[str]:
    """What the numbers that tell columns apart are called: row, column, or the word before them."""
    texts = _DIGITS.split(names[columns[0]].lower())
    words = ["".join(re.findall("[a-z]+", texts[place])[-1:]) for place in _varying(names, columns)]
    return ["row" if w in _ROWS else "column" if w in _COLUMNS else w for w in words]


def _check_complete(found: str, axes: Sequence[list[int]], columns: int) -> None:
    for place, axis in enumerate(axes, 1):
        # Some count from 0, some from 1, and R from 2 where the label is the first of its V1, V2...
        if axis[0] > 2 or axis != list(range(axis[0], axis[0] + len(axis))):
            gap = next((number for number in range(axis[0], axis[-1]) if number not in axis), 0)
            where = f" as number {place} of their names" if len(axes) > 1 else ""
            raise InputError(f"{found} but no pixel {gap}{where}, expected all of them")
    if math.prod(map(len, axes)) != columns:
        sizes = " x ".join(str(len(axis)) for axis in axes)
        raise InputError(f"{found}, {columns} pixels, expected {sizes}: some are missing")


def _grid(sizes: Sequence[int]) -> tuple[int, int, int] | None:
    """(H, W, C) if the numbers are of rows, columns and perhaps channels."""
    channels = sizes[2] if len(sizes) == 3 else 1
    if len(sizes) not in (2, 3) or channels > 4 or sizes[1] <= 4 < sizes[0]:
        return None
    return sizes[0], sizes[1], channels


def _main_series(names: Sequence[str]) -> str | None:
    """What most numbered names have in common, as `pixel#` and `#x#`; None without numbers."""
    numbered = collections.Counter(
        _skeleton(name) for name in names if _DIGITS.search(name)
    ).most_common(1)
    return numbered[0][0] if numbered and numbered[0][1] > 1 else None


def _skeleton(name: str) -> str:
    return _DIGITS.sub("#", name).lower()


def _describe(names: Sequence[str], column: int) -> str:
    return f"column {column + 1} is {names[column]!r}"


def _list(names: Sequence[str]) -> str:
    shown = [*names[:3], "...", names[-1]] if len(names) > 5 else names
    return ", ".join(name[:40] for name in shown)
