from __future__ import annotations

import json

import pyarrow as pa
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import parquet_columns

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LISTS = pa.list_(pa.list_(pa.uint8()))


def _find(asked: str = "", shape=None, metadata=None, **types) -> parquet_columns.Layout:
    schema = pa.schema([pa.field(name, kind) for name, kind in types.items()], metadata)
    return parquet_columns.find("x.parquet", schema, asked, shape)


def _notes(names: object, label: str = "label", **more) -> dict[str, str]:
    features = {label: {"_type": "ClassLabel", "names": names}} | more
    return {"huggingface": json.dumps({"info": {"features": features}})}


@pytest.mark.parametrize(
    ("types", "layout"),
    [
        ({"image": PICTURE, "label": pa.int64()}, ("pictures", "label", ("image.bytes",))),
        ({"label": pa.uint8(), "img": pa.large_binary()}, ("pictures", "label", ("img",))),
        ({"data": LISTS, "y": pa.float64()}, ("lists", "y", ("data",))),
        (
            {"x": pa.list_(pa.float32()), "Class": pa.dictionary(pa.int8(), pa.int64())},
            ("lists", "Class", ("x",)),
        ),
        (
            {
                "label": pa.int8(),
                "p1": pa.uint8(),
                "p0": pa.uint8(),
                "p2": pa.uint8(),
                "p3": pa.int64(),
            },
            ("columns", "label", ("p0", "p1", "p2", "p3")),
        ),
        (
            {"p0": pa.uint8(), "label": pa.int8(), "__index_level_0__": pa.int64()},
            ("columns", "label", ("p0",)),
        ),
    ],
)
def test_layouts(types: dict, layout: tuple):
    found = _find(**types)
    assert (found.kind, found.label, found.read) == layout


def test_the_usual_name_of_several_columns_of_images():
    found = _find(image=PICTURE, mask=PICTURE, label=pa.int64())
    assert found.images == ("image",) and found.doubts == ("columns not used: mask",)


@pytest.mark.parametrize(
    ("asked", "label"), [("first", "a"), ("last", "b"), ("B", "b"), ("a", "a")]
)
def test_the_label_that_is_asked_for(asked: str, label: str):
    assert _find(asked, a=pa.int64(), image=PICTURE, b=pa.int64()).label == label


def test_a_label_of_the_hub_has_any_name():
    assert (
        _find(metadata=_notes(["a", "b"], "kind"), image=PICTURE, kind=pa.int64()).label == "kind"
    )


def test_columns_whose_names_say_a_shape():
    types = {f"{row}x{column}": pa.uint8() for row in range(1, 3) for column in range(1, 7)}
    assert _find(label=pa.int64(), **types).image_shape == (2, 6, 1)


REFUSED = {
    "two labels": ({"image": PICTURE, "label": pa.int64(), "y": pa.int64()}, "'label' and 'y' may"),
    "no label": ({"image": PICTURE, "id": pa.int64()}, "no label: the columns are image, id; say"),
    "two images": (
        {"a": PICTURE, "b": LISTS, "label": pa.int64()},
        "'a' and 'b' may both be the im",
    ),
    "no image": (
        {"image": pa.string(), "label": pa.int64()},
        "column 'image' is string, expected pictures",
    ),
    "only a label": ({"label": pa.int64()}, "found the columns label, expected a label and images"),
    "text": (
        {"image": PICTURE, "label": pa.string()},
        "'label', is string, .*; number the classes",
    ),
    "bool": ({"image": PICTURE, "label": pa.bool_()}, "'label', is bool, expected whole numbers"),
    "words": (
        {"image": PICTURE, "label": pa.dictionary(pa.int8(), pa.string())},
        "'label', is dictionary<values=string.*expected whole numbers",
    ),
    "lists of text": (
        {"image": pa.list_(pa.string()), "label": pa.int64()},
        "column 'image' is list",
    ),
    "tensors with the channels first": (
        {"image": pa.fixed_shape_tensor(pa.uint8(), (3, 8, 8)), "label": pa.int64()},
        "expected tensors of HxW or HxWxC; move that axis to the end",
    ),
    "an index": (
        {"id": pa.int64(), "label": pa.int64(), "p0": pa.uint8()},
        "column 1 is 'id', no lab",
    ),
    "no name": ({"a": pa.int64(), "b": pa.int64()}, "no column is named label: found a, b; say"),
}


@pytest.mark.parametrize(("types", "line"), REFUSED.values(), ids=REFUSED)
def test_refused(types: dict, line: str):
    with pytest.raises(InputError, match=f"x.parquet: .*{line}"):
        _find(**types)


def test_a_label_that_is_not_there():
    with pytest.raises(InputError, match="0 columns are named 'z' .--label_column., expected one"):
        _find("z", image=PICTURE, label=pa.int64())


def test_names_that_stand_twice():
    schema = pa.schema([("image", PICTURE), ("label", pa.int64()), ("label", pa.int64())])
    with pytest.raises(InputError, match="several columns are named 'label'"):
        parquet_columns.find("x.parquet", schema)


def test_class_names_of_the_hub():
    types = {"image": PICTURE, "label": pa.int64()}
    assert _find(metadata=_notes(["cat", "dog"]), **types).class_names == ("cat", "dog")
    for names in (["a"], ["a", "a"], ["a", ""], ["a", "b\n"], ["a", 3], "ab", {"0": "a"}):
        found = _find(metadata=_notes(names), **types)
        assert found.class_names == () and "and not used" in found.doubts[0], names
    for notes in (
        "",
        "{",
        "[]",
        '{"info": 3}',
        "[" * 100_000,
        '{"info": {"features": {"label": 3}}}',
    ):
        found = _find(metadata={"huggingface": notes}, **types)
        assert found.class_names == () and not found.doubts
