"""Short runs to report on, their pages, and what is in a page."""

from __future__ import annotations

import os
import shutil
import types
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mnist_estimator import report
from mnist_estimator.compat import v1
from mnist_estimator.data import writer
from support.datasets import CLASSES, TEST, array_source
from support.short_runs import train

# Names as nobody would give them, to be shown and not to be believed.
NAMES = ("<b>up</b>", "a&b", '"quoted"', "$x$ 'y'")
FLAGS = {
    "model_dir": "",
    "data_dir": "",
    "checkpoint": "",
    "model": "",
    "split": None,
    "grid_class": 0,
    "title": "",
}


def require(found, what):
    """Skips a test where something is not installed, but not in CI, where it would be forgotten."""
    if not found:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"{what} is not installed, so the report was not looked at")


def write_data(folder, *, test=TEST):
    writer.write_dataset(
        str(folder),
        dataset="squares",
        train=array_source(82),
        test=array_source(test, seed=1) if test else None,
        num_classes=CLASSES,
        class_names=NAMES,
        validation_split="12",
        shards=3,
    )


def make_runs(folder: Path) -> None:
    """Trains softmax regression in runs/first; runs/second is a copy without its events."""
    write_data(folder / "data")
    options = {"model": "softmax", "optimizer": "sgd", "learning_rate": 0.1, "max_steps": 20}
    options |= {"save_checkpoints_steps": 10, "log_steps": 5}
    # TensorFlow knows writers by their paths, and other tests have a folder of this name.
    v1.summary.FileWriterCache.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train("runs/first", "data", **options)
    shutil.copytree(folder / "runs/first", folder / "runs/second")
    for path in (folder / "runs/second").glob("*tfevents*"):
        path.unlink()


class _Flags(types.SimpleNamespace):
    """The values of flags, of which the output is given."""

    def __getitem__(self, name):
        return types.SimpleNamespace(present=name == "output")


def make_page(work, **given):
    """What `main` writes for some flags; in this process, for TensorFlow takes seconds to start."""
    output = given.pop("output", str(work / "page.html"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        values = _Flags(**FLAGS | given, output=output)
        patch.setattr(report.flags, "FLAGS", values)
        report.main([])
    return (work / output).read_text(encoding="utf-8")


class Content(HTMLParser):
    """Text, attributes, ids and images of a page; complains where its tags do not match."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.text, self.attributes, self.ids, self.images, self.open = "", [], [], [], []
        self.tags = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
