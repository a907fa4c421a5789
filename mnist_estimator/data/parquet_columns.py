"""Which columns of a Parquet file are the images and the labels, by their names and types."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import csv_columns, example_arrays
from mnist_estimator.data.csv_columns import FIRST, LAST

if TYPE_CHECKING:
    import pyarrow

Shape = tuple[int, int, int]

# How images are stored: as encoded files, as lists of pixels, or with a column for each pixel.
PICTURES, LISTS, COLUMNS = "pictures", "lists", "columns"
_IMAGES = frozenset(["image", "images", "img", "imgs", "picture", "pictures", "pixels", "x"])
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_MOST_NAMES = 100_000
_CHOOSE = "say which column is the label with --label_column=NAME"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a file has its examples.

    Attributes:
      kind: how its images are stored.
      label: the label's column.
      images: the column of the images, or those of the pixels in the image's order.
      read: what to read for the images, as `image.bytes`.
      image_shape: (H, W, C), if names or types say it.
      class_names: the classes' names, if the file has them.
      doubts: what is doubtful, or not used.
    """

    kind: str
    label: str
    images: tuple[str, ...]
    read: tuple[str, ...]
    image_shape: Shape | None = None
    class_names: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    doubts: tuple[str, ...] = dataclasses.field(default=(), compare=False)


def find(
    path: str, schema: pyarrow.Schema, asked: str = "", image_shape: Shape | None = None
) -> Layout:
    """Finds the images and labels of a file.

    Args:
      asked: the label column's name, "first", "last", or "" for what the names say.
      image_shape: (H, W, C) that the images must have.

    Raises:
      InputError: if it is not clear which columns they are, or their types hold none.
    """
    names = [name for name in schema.names if not _PANDAS_INDEX.fullmatch(name)]
    for name in names:
        if schema.names.count(name) > 1:
            raise InputError(f"{path}: several columns are named {name!r}, expected one of each")
    holders = {name: _holder(schema.field(name).type) for name in names}
    if not any(holders.values()):
        return _by_column(path, schema, names, asked, image_shape)
    features = _features(schema)
    label = _label(path, names, asked, features)
    _check_label_type(path, label, schema.field(label).type)
    image = _image(path, names, [name for name in names if holders[name] and name != label])
    kind = holders[image]
    read = f"{image}.bytes" if _is_struct(schema.field(image).type) else image
    rest = [name for name in names if name not in (label, image)]
    doubts = [f"columns not used: {_list(rest)}"] if rest else []
    class_names, doubt = _class_names(features.get(label))
    return Layout(
        kind,
        label,
        (image,),
        (read,),
        image_shape=_tensor_shape(path, image, schema.field(image).type),
        class_names=class_names,
        doubts=tuple(doubts + ([doubt] if doubt else [])),
    )


def _by_column(
    path: str,
    schema: pyarrow.Schema,
    names: Sequence[str],
    asked: str,
    image_shape: Shape | None,
) -> Layout:
    """The layout of a file with a column for each pixel, found as a CSV file's."""
    if len(names) < 2:
        raise InputError(
            f"{path}: found the columns {_list(names)}, expected a label and images: a column of "
            "pictures or of lists of pixels, or a column a pixel"
        )
    for name in names:
        kind = schema.field(name).type
        if not _is_number(kind) and name != asked and name.lower() not in csv_columns.LABELS:
            raise InputError(
                f"{path}: column {name!r} is {kind}, expected pictures (bytes, or a struct with a "
                "field bytes), lists of numbers, or a number, a column a pixel"
            )
    found = csv_columns.find(path, names, len(names), asked, image_shape)
    if not found.certain:
        raise InputError(f"{path}: no column is named label: found {_list(names)}; {_CHOOSE}")
    label, pixels = names[found.label], np.array(names)[found.pixels].tolist()
    _check_label_type(path, label, schema.field(label).type)
    doubts = (found.warning.removeprefix(f"{path}: "),) if found.warning else ()
    return Layout(
        COLUMNS, label, tuple(pixels), tuple(pixels), image_shape=found.image_shape, doubts=doubts
    )


def _label(path: str, names: Sequence[str], asked: str, features: dict[str, Any]) -> str:
    if asked in (FIRST, LAST) and asked not in names:
        return names[0 if asked == FIRST else -1]
    if asked:
        same = [name for name in names if name == asked]
        same = same or [name for name in names if name.lower() == asked.lower()]
        if len(same) != 1:
            raise InputError(
                f"{path}: {len(same)} columns are named {asked!r} (--label_column), expected one; "
                f"the columns are {_list(names)}"
            )
        return same[0]
    found = [name for name in names if name.lower() in csv_columns.LABELS or name in features]
    if len(found) != 1:
        which = f"{found[0]!r} and {found[1]!r} may both be the label" if found else "no label"
        raise InputError(f"{path}: {which}: the columns are {_list(names)}; {_CHOOSE}")
    return found[0]


def _image(path: str, names: Sequence[str], holders: Sequence[str]) -> str:
    usual = [name for name in holders if name.lower() in _IMAGES]
    found = usual if len(usual) == 1 else holders
    if len(found) != 1:
        which = f"{found[0]!r} and {found[1]!r} may both be the images" if found else "no images"
        raise InputError(
            f"{path}: {which}: the columns are {_list(names)}; write the file with one column of "
            "images, named image"
        )
    return found[0]


def _holder(kind: pyarrow.DataType) -> str:
    """How a column of a type holds images; "" if it does not."""
    import pyarrow as arrow

    types = arrow.types
    if _is_struct(kind):
        return PICTURES if _is_binary(kind.field("bytes").type) else ""
    if _is_binary(kind):
        return PICTURES
    inner = _storage(kind)
    depth = 0
    while is_list(inner):
        inner, depth = _storage(inner.value_type), depth + 1
    return LISTS if depth and (types.is_integer(inner) or types.is_floating(inner)) else ""


def _is_struct(kind: pyarrow.DataType) -> bool:
    import pyarrow as arrow

    return arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def _is_binary(kind: pyarrow.DataType) -> bool:
    import pyarrow as arrow

    types = arrow.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def is_list(kind: pyarrow.DataType) -> bool:
    """Whether values of a type are lists."""
    import pyarrow as arrow

    types = arrow.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: pyarrow.DataType) -> bool:
    import pyarrow as arrow

    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    return arrow.types.is_integer(kind) or arrow.types.is_floating(kind)


def _storage(kind: pyarrow.DataType) -> pyarrow.DataType:
    """What a type that another program has named is stored as."""
    import pyarrow as arrow

    return kind.storage_type if isinstance(kind, arrow.BaseExtensionType) else kind


def _tensor_shape(path: str, name: str, kind: pyarrow.DataType) -> Shape | None:
    """(H, W, C) of Arrow's own type for tensors, which are stored as flat lists."""
    shape = getattr(kind, "shape", None)
    if shape is None:
        return None
    problem = example_arrays.images_problem((1, *shape), np.dtype(np.uint8))
    if problem or kind.permutation not in (None, [*range(len(shape))]):
        advice = f"; {problem.advice}" if problem else ""
        raise InputError(
            f"{path}: column {name!r} is {kind}, expected tensors of HxW or HxWxC{advice}"
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def _check_label_type(path: str, name: str, kind: pyarrow.DataType) -> None:
    if not _is_number(kind):
        raise InputError(
            f"{path}: the label, column {name!r}, is {kind}, expected whole numbers; number the "
            "classes from 0"
        )


def _features(schema: pyarrow.Schema) -> dict[str, Any]:
    """The columns that the Hugging Face hub's notes in a file call labels, with their notes."""
    try:
        notes = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        found = notes["info"]["features"]
        return {
            name: feature for name, feature in found.items() if feature.get("_type") == "ClassLabel"
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _class_names(feature: Any) -> tuple[tuple[str, ...], str]:
    """The classes' names in a note of the hub; and why they are not taken, if so."""
    names = feature.get("names") if feature else None
    if names is None:
        return (), ""
    sound = (
        isinstance(names, list)
        and 2 <= len(names) <= _MOST_NAMES
        and all(isinstance(name, str) and name and name.isprintable() for name in names)
        and len(set(names)) == len(names)
    )
    if not sound:
        return (), "the names of the classes are no list of different names, and not used"
    return tuple(names), ""


def _list(names: Sequence[str]) -> str:
    shown = [*names[:3], "...", names[-1]] if len(names) > 5 else names
    return ", ".join(name[:40] for name in shown) or "none"
