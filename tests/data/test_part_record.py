"""The record of a part comes back as it was, or the field that is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import part_sets

from mnist_estimator.data import part_record, parts
from mnist_estimator.data.manifest import DIGEST
from mnist_estimator.data.part_record import PartError
from mnist_estimator.runtime import json_files


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    part_sets.write(folder, "2/3")
    return Path(parts.look(str(folder))[0].record_path)


def test_a_record_is_read_as_it_was_written(record: Path):
    found = part_record.read(str(record))
    assert part_record.encode(found) == record.read_bytes()
    assert (found.part.number, found.part.count) == (2, 3)
    assert found.outline == part_sets.plan_of().outline()
    assert found.num_examples("train") + found.num_examples("validation") == 17


_TRAIN = "train-00000-of-00003.tfrecord"
_WRONG = {
    "a field too many": (lambda c: c.update(run="rm"), "the whole has 'run', expected only"),
    "a field less": (lambda c: c.pop("statistics"), "the whole has no statistics"),
    "part": (lambda c: c.update(part=4), "part is 4, expected 1 to 3"),
    "parts": (lambda c: c.update(parts=10**6), "parts is 1000000, expected 1 to 1000"),
    "true": (lambda c: c.update(part=True), "part is True, expected 1 to 3"),
    "first": (lambda c: c["firsts"].update(train=-1), "firsts of train is -1, expected 0 to 45"),
    "split": (lambda c: c["firsts"].update(more=1), "firsts has 'more', expected only"),
    "path": (
        lambda c: c["fragments"]["train"][0].update(file="../../etc/passwd"),
        f"file is '../../etc/passwd', expected {_TRAIN}",
    ),
    "number": (
        lambda c: c["fragments"]["train"][0].update(examples=10**9),
        f"{_TRAIN} examples is 1000000000, expected ",
    ),
    "fragments": (lambda c: c["fragments"]["train"].pop(), "train has 2 fragments, expected 3"),
    "digest": (
        lambda c: c["fragments"]["train"][0].update(sha256="x"),
        f"{_TRAIN} sha256 is 'x', expected 64 hex digits",
    ),
    "version": (lambda c: c["outline"].update(version="2"), "version is '2', expected 1, of data"),
    "shards": (lambda c: c["outline"].update(shards=0), "shards is 0, expected 1 to 256"),
    "shape": (lambda c: c["outline"].update(image_shape=[2**31] * 3), "image_shape"),
    "names": (lambda c: c["outline"].update(class_names=["\x1b[2J"]), "class_names has '"),
    "sources": (lambda c: c["outline"].update(sources={"a": 1}), "sources is 1, expected 64 hex"),
    "classes": (
        lambda c: c["statistics"]["classes"].update(train=[-1]),
        "classes of train is -1, expected 0 to",
    ),
    "pixel": (
        lambda c: c["statistics"]["brightest"].update(test=256),
        "brightest of test is 256, expected 0 to 255",
    ),
    "like": (lambda c: c["statistics"].update(like_mnist=18), "like_mnist is 18, expected 0 to 17"),
}


@pytest.mark.parametrize("wrong", _WRONG)
def test_a_record_of_somebody_else_is_refused(record: Path, tmp_path: Path, wrong: str):
    change, line = _WRONG[wrong]
    content = json.loads(record.read_text())
    del content[DIGEST]
    change(content)
    content[DIGEST] = json_files.digest(content)
    path = tmp_path / "part.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PartError) as error:
        part_record.read(str(path))
    assert f"{path}: " in str(error.value) and line in str(error.value), error.value


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 10**5, b"null"])
def test_anything_else_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "part.json"
    path.write_bytes(data)
    with pytest.raises(PartError, match=r"part\.json: "):
        part_record.read(str(path))


def test_each_byte_counts(record: Path, tmp_path: Path):
    path = tmp_path / "part.json"
    content = record.read_text()
    changed = content.replace('"dataset": "tiny"', '"dataset": "tinx"')
    assert changed != content
    path.write_text(changed)
    with pytest.raises(PartError, match="sha256 is not that of the rest"):
        part_record.read(str(path))
