"""The model card of an export: a README.md that people read, and the Hugging Face hub.

Pure functions from plain facts to text. The facts are data, of a record that may come from somebody
else: each is escaped, as YAML or as Markdown. Nothing names a path of the machine or a time, so the
same model has the same card everywhere. The last line has the digest of all above it: a card that
was edited is nobody's to replace.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_estimator import __version__
from mnist_estimator.data import known_datasets
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.runtime.streams import printable
from mnist_estimator.scoring.scores import CLASS_METRICS, Scores
from mnist_estimator.serving import loading

FILE = "README.md"
UNKNOWN = "unknown"  # A license, as the hub names it.

_SEAL = "<!-- Made by mnist_estimator. sha256 of the above: {} -->\n"
_MARKS = "\\`*_{}[]()#+-.!|<>&~$:"  # Of Markdown, and of GitHub's and the hub's.
_Z = 1.959964  # Of a 95% interval.
# Names of the datasets on the hub, where they are the ones that this package knows.
_ON_THE_HUB = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
_MOST_SHOWN = 20  # Names of classes in a sentence.


@dataclasses.dataclass(frozen=True)
class Result:
    """A network's answers to a test split.

    Attributes:
      loss: mean cross-entropy in nats.
      confusion: int64 [K,K]; None if the classes are too many.
      dtype: the arithmetic, as "bfloat16".
    """

    examples: int
    accuracy: float
    loss: float
    confusion: np.ndarray | None
    dtype: str


@dataclasses.dataclass(frozen=True)
class Card:
    """The facts of a card.

    Attributes:
      model: the content of an export's model.json.
      record: of the run; of several runs that of the first.
      flags: of each run, those that its weights follow from.
      earlier: the step up to which the first run was trained with other flags, and their names.
      result: None if no test of this model is known.
      export: what was written, and how it is loaded.
      accuracy: that of the export itself on the test split; None if it was not measured.
      picture: path of the confusion matrix's picture, relative to the card; "" if there is none.
      license: as the hub names it.
    """

    step: int
    data: TrainedOn
    model: Mapping[str, Any]
    record: Mapping[str, Any]
    flags: Sequence[Mapping[str, Any]]
    result: Result | None
    export: loading.Export
    accuracy: float | None = None
    picture: str = ""
    license: str = UNKNOWN
    earlier: tuple[int, Sequence[str]] = (0, ())

    @property
    def title(self) -> str:
        """Network and data."""
        networks = "+".join(dict.fromkeys(str(flags["model"]) for flags in self.flags))
        several = f" ({len(self.flags)} networks)" if len(self.flags) > 1 else ""
        return f"{networks}{several} on {self.dataset}"

    @property
    def dataset(self) -> str:
        """The name of the data."""
        name = self.record["dataset"]["name"]
        known = known_datasets.DATASETS.get(name)
        return known.title if known else name


def text(card: Card) -> str:
    """The whole README.md."""
    parts = (
        _front_matter(card),
        f"# {_plain(card.title)}\n\n{_summary(card)}\n",
        _section("Use", _use(card)),
        _section("Load it", loading.lines(card.export, card.data)),
        _section("Test result", _test(card)),
        _section("Data", _data(card)),
        _section("Training", _training(card)),
    )
    body = "\n".join(parts) + "\n"
    return body + _SEAL.format(_digest(body))


def is_ours(content: bytes) -> bool:
    """Whether a README.md is a card as `text` made it, and was not changed since."""
    body, last = content[: content.rfind(b"<!--")], content[content.rfind(b"<!--") :]
    return last == _SEAL.format(hashlib.sha256(body).hexdigest()).encode()


def interval(accuracy: float, examples: int) -> tuple[float, float]:
    """The 95% interval of an accuracy on so many examples (Wilson, JASA 1927)."""
    square = _Z * _Z / examples
    middle = accuracy + square / 2
    half = math.sqrt(accuracy * (1 - accuracy) * square + square * square / 4)
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def quoted(value: object) -> str:
    """A text as YAML, in double quotes and ASCII, so that nothing in it has a meaning."""
    return f'"{"".join(map(_yaml_character, str(value)))}"'


def _yaml_character(character: str) -> str:
    if character.isascii() and character.isprintable():
        return f"\\{character}" if character in '"\\' else character
    code = ord(character)
    return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


def _plain(value: object) -> str:
    """A text in one line of Markdown, in which nothing has a meaning."""
    escaped = str.maketrans({mark: f"\\{mark}" for mark in _MARKS})
    return printable(str(value)).translate(escaped)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _section(heading: str, lines: Iterator[str]) -> str:
    return "\n".join([f"## {heading}", "", *lines, ""])


def _front_matter(card: Card) -> str:
    """What the hub reads: huggingface.co/docs/hub/model-cards."""
    name = card.record["dataset"]["name"]
    lines = [
        f"license: {quoted(card.license)}",
        f"library_name: {quoted(card.export.library)}",
        "pipeline_tag: image-classification",
        "tags:",
        *(f"- {tag}" for tag in (card.export.library, "image-classification", "mnist_estimator")),
    ]
    if name in _ON_THE_HUB:
        lines += ["datasets:", f"- {_ON_THE_HUB[name]}"]
    lines += ["metrics:", "- accuracy", *_model_index(card, name)]
    return "\n".join(["---", *lines, "---", ""])


def _model_index(card: Card, name: str) -> list[str]:
    accuracy = _accuracy(card)
    if accuracy is None:
        return []
    return [
        "model-index:",
        f"- name: {quoted(card.title)}",
        "  results:",
        "  - task:",
        "      type: image-classification",
        "    dataset:",
        f"      name: {quoted(card.dataset)}",
        f"      type: {quoted(_ON_THE_HUB.get(name, name))}",
        "      split: test",
        "    metrics:",
        "    - type: accuracy",
        f"      value: {round(accuracy, 6)}",
    ]


def _accuracy(card: Card) -> float | None:
    """Of the export itself, as far as it is known, else of the network that it was made of."""
    if card.accuracy is not None or card.result is None:
        return card.accuracy
    return card.result.accuracy


def _summary(card: Card) -> str:
    height, width, channels = card.data.image_shape
    return (
        f"Says which of {card.data.num_classes:,} classes an image of {height}x{width}x{channels} "
        f"pixels shows. Trained for {card.step:,} steps with mnist\\_estimator "
        f"{_plain(__version__)}. This card describes {card.export.what}."
    )


def _use(card: Card) -> Iterator[str]:
    names = card.data.class_names
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    listed = ", ".join(map(_plain, names[:_MOST_SHOWN]))
    white = full_scale(card.data.brightest_pixel)
    yield f"- Intended for images like those of {_plain(card.dataset)}. Classes: {listed}{more}."
    yield f"- Input: {card.export.takes.format(white=white)}"
    yield "- It answers with one of its classes always, also where an image shows none of them."
    yield "- How it does on images that come from elsewhere is not known before it is tested there."
    if card.model["temperature"] == 1:
        yield (
            "- A probability says how sure the network is. It was not fitted to how often that is "
            "right."
        )
    else:
        yield (
            f"- The logits are divided by {card.model['temperature']:.4f}, which was fitted on "
            "the validation split, so that probabilities are calibrated there."
        )


def _test(card: Card) -> Iterator[str]:
    result = card.result
    if result is None:
        yield "No test result of this model is on record."
        return
    low, high = interval(result.accuracy, result.examples)
    yield "| | |"
    yield "| --- | --- |"
    if card.accuracy is not None:
        yield f"| test accuracy of this export | {card.accuracy:.4f} |"
    yield f"| test accuracy as trained, in {result.dtype} | {result.accuracy:.4f} |"
    yield f"| 95% interval, for the number of examples | {low:.4f} to {high:.4f} |"
    yield f"| loss | {result.loss:.4f} |"
    yield f"| test examples | {result.examples:,} |"
    if result.confusion is None:
        return
    yield ""
    yield from _classes(card, result.confusion)
    if card.picture:
        yield ""
        yield f"![Confusion matrix: a row for each true class]({card.picture})"


def _classes(card: Card, confusion: np.ndarray) -> Iterator[str]:
    scores = Scores(card.data.num_classes)
    scores.confusion = confusion
    rates = scores.per_class()
    examples = rates.pop("examples")
    headings = [metric.label for metric in CLASS_METRICS]
    yield f"| class | {' | '.join(headings)} | examples |"
    yield f"| --- |{' ---: |' * (len(headings) + 1)}"
    for number, name in enumerate(card.data.class_names):
        cells = " | ".join(f"{values[number]:.4f}" for values in rates.values())
        yield f"| {_plain(name)} | {cells} | {examples[number]:,} |"


def _data(card: Card) -> Iterator[str]:
    data = card.record["dataset"]
    yield "| | |"
    yield "| --- | --- |"
    yield f"| name | {_plain(card.dataset)} |"
    for split, count in _counts(data):
        yield f"| {split} examples | {count:,} |"
    if "split_rule" in data:
        yield f"| validation split | {_plain(data['split_rule'])} |"
    yield f"| largest pixel of the training images | {card.data.brightest_pixel} |"
    yield f"| sha256 of the manifest | `{card.data.digest}` |"
    for role, digest in data["sources"].items():
        yield f"| sha256 of the source, {_plain(role)} | `{digest}` |"


def _counts(data: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The examples of each split; this part of a record is checked nowhere else."""
    counts = data.get("examples")
    for split in ("train", "validation", "test"):
        count = counts.get(split) if isinstance(counts, dict) else None
        if type(count) is int:
            yield split, count


def _training(card: Card) -> Iterator[str]:
    if len(card.flags) > 1:
        yield f"{len(card.flags)} networks answer together, with the mean of their probabilities."
        yield ""
    step, changed = card.earlier
    if changed:
        names = ", ".join(map(_plain, changed))
        yield f"The steps up to {step:,} were trained with other values of {names}."
        yield ""
    yield f"| flag |{' value |' * len(card.flags)}"
    yield f"| --- |{' --- |' * len(card.flags)}"
    for name in card.flags[0]:
        cells = " | ".join(_plain(flags[name]) for flags in card.flags)
        yield f"| {_plain(name)} | {cells} |"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for name, version in card.record.get("versions", {}).items():
        yield f"| {_plain(name)} | {_plain(version)} |"
    yield f"| trained in | {card.record['compute_dtype']} |"
    yield f"| views of each image | {card.model['views']} |"
    yield f"| moving averages of the weights | {'yes' if card.model['averages'] else 'no'} |"
    yield f"| sha256 of the checkpoint | `{card.model['checkpoint_sha256']}` |"
