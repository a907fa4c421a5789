"""Splits and shards: their names, their limits, and which examples the validation split takes.

Nothing here imports TensorFlow, so that a wrong flag is answered at once.
"""

from __future__ import annotations

import dataclasses
import fractions
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from mnist_estimator import InputError

if TYPE_CHECKING:
    import numpy as np

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# What people call the files and folders of a split.
TRAIN_WORDS = ("train", "training")
TEST_WORDS = ("test", "testing", "t10k", "val", "valid", "validation")
MAX_SHARDS = 256  # Two splits are written at once, and 1,024 open files is a usual limit.
MAX_CLASSES = 2**20
MAX_SEED = 2**31 - 1
MAX_PARTS = 1000  # As many tasks as an array job of Slurm has by default.

AUTO = "auto"
CLASSIC = 5000  # MNIST's usual split: the first 5,000 training examples validate.
_FORMS = "a count from the front (5000), a fraction (0.3), 0 for none, or auto"


@dataclasses.dataclass(frozen=True)
class ValidationSplit:
    """`count` of `total` training examples: the first ones, or with a seed a random choice.

    With `classes` the choice is made in each class: of class k `classes[k][0]` of its
    `classes[k][1]` examples.
    """

    count: int
    total: int
    seed: int | None = None
    classes: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        if not self.count:
            return "none"
        if self.seed is None:
            return f"first {self.count} of {self.total}"
        within = " in each class" if self.classes else ""
        return f"{self.count} of {self.total} by selection sampling{within}, seed {self.seed}"

    def picks(self) -> Callable[[np.ndarray], np.ndarray]:
        """Returns a function: labels [N] of the next training examples -> bool [N], who validates.

        Every subset of `count` is as likely as any other, and no list of the examples is needed.
        """
        # Imported here: every command imports this module, and its --help needs no numpy.
        from mnist_estimator.data.sampling import Sampling

        if self.classes:
            return Sampling(self.classes, self.seed).pick
        sampling = Sampling(((self.count, self.total),), self.seed)
        return lambda labels: sampling.pick(labels * 0)


@dataclasses.dataclass(frozen=True)
class Part:
    """Part `number` of the `count` parts that a dataset is prepared in, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def rows(self, total: int) -> range:
        """The part's share of `total` examples: those of a range."""
        return range(
            total * (self.number - 1) // self.count,
            total * self.number // self.count,
        )


def parse_part(text: str) -> Part:
    """Reads the value of `--part`, such as 3/16.

    Raises:
      InputError: if it is none.
    """
    match = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count <= MAX_PARTS:
        raise InputError(
            f"--part: found {text!r}, expected I/N, from 1/N to N/N, as 3/16 for the third of 16 "
            f"parts; N is {MAX_PARTS} at most"
        )
    return Part(number, count)


def check_validation_split(text: str) -> None:
    """Raises InputError if `text` is no rule that `--validation_split` knows."""
    _parse(text)


def check_range(flag: str, value: int, least: int, most: int) -> None:
    """Raises InputError unless `value` is from `least` to `most`."""
    if not least <= value <= most:
        raise InputError(f"--{flag}: found {value}, expected {least} to {most}")


def validation_split(
    text: str, total: int, seed: int, class_examples: Sequence[int] = ()
) -> ValidationSplit:
    """Resolves a `--validation_split` for `total` training examples.

    Args:
      class_examples: how many of them each class has; with it auto chooses in each class, for
        data may be sorted by class. Without it auto takes the first ones.

    Raises:
      InputError: if it is malformed, or leaves no example for validation or none for training.
    """
    value = _parse(text)
    if value is None:
        # A small source keeps the proportions of a larger one.
        count = min(CLASSIC, total // 10)
        if class_examples:
            return _by_class(count, class_examples, seed)
        return ValidationSplit(count, total)
    if isinstance(value, int):
        if value >= total:
            raise InputError(
                f"--validation_split: found {value}, expected less than the {total} training "
                "examples; give a smaller count, or auto"
            )
        return ValidationSplit(value, total)
    count = round(value * total)
    if not 0 < count < total:
        raise InputError(
            f"--validation_split: found {text}, which is {count} of the {total} training examples, "
            "expected some for each of training and validation"
        )
    return ValidationSplit(count, total, seed)


def _by_class(count: int, class_examples: Sequence[int], seed: int) -> ValidationSplit:
    """`count` examples in proportion to the classes, each of which keeps one for training.

    What the whole numbers leave over goes to the largest remainders, the seed deciding between
    equal ones. Where many classes have one example, fewer than `count` are taken.
    """
    total = sum(class_examples)
    taken = [count * examples // total for examples in class_examples]
    words = _words(seed + (1 << 64))  # Not those that then choose the examples.
    ranked = sorted(
        (-(count * examples % total), next(words), label)
        for label, examples in enumerate(class_examples)
        if examples > 1 and count * examples % total
    )
    for _, _, label in ranked[: count - sum(taken)]:
        taken[label] += 1
    pairs = zip(taken, class_examples, strict=True)
    return ValidationSplit(sum(taken), total, seed, tuple(pairs))


def _parse(text: str) -> int | fractions.Fraction | None:
    """Returns a count, a fraction between 0 and 1, or None for auto."""
    if text == AUTO:
        return None
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"0?\.[0-9]{1,18}", text):
        return fractions.Fraction(text) or 0
    raise InputError(f"--validation_split: found {text!r}, expected {_FORMS}")


def _words(seed: int) -> Iterator[int]:
    from mnist_estimator.data.sampling import bits

    source = bits(seed)
    while True:
        yield from source.random_raw(4096).tolist()
