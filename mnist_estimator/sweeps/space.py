"""The space of a sweep: which flags of `train` it varies, and between which values.

It is a YAML file with one entry for each flag:

  learning_rate: {type: float, low: 1e-4, high: 1e-1, log: true}
  batch_size: {type: int, low: 32, high: 128, step: 32}
  optimizer: {type: categorical, choices: [adam, momentum]}

TensorFlow and Optuna are not imported.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mnist_estimator import InputError, config
from mnist_estimator.engines import passed_flags
from mnist_estimator.runtime import flag_fields, local_files
from mnist_estimator.runtime.json_files import shown

FLOAT, INT, CATEGORICAL = TYPES = ("float", "int", "categorical")
# A sweep chooses what training follows from. Which data there are, what is evaluated and when, and
# where files are, is the same in all trials: else their results could not be compared.
_VARIED = {config.NETWORK, config.LEARNING, config.ARITHMETIC, config.LENGTH}
_MOST_BYTES = 2**20
_MOST_FLAGS = 100
_MOST_CHOICES = 1000
_MOST_WHOLE = 2**53
# YAML 1.1 takes 1e-4, which has no dot, for text.
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+", re.ASCII)
_SLACK = 1e-9  # Of a step, by which rounded bounds may be off.


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A flag that a sweep varies.

    Attributes:
      name: the flag of `train`.
      type: one of `TYPES`.
      low, high: the bounds of a number, both included.
      step: the distance of two neighbouring values; 0: 1 for whole numbers, none for others.
      log: whether the logarithm is drawn evenly.
      choices: the values of a categorical flag, as a command line has them.
    """

    name: str
    type: str
    low: float = 0
    high: float = 0
    step: float = 0
    log: bool = False
    choices: tuple[str, ...] = ()

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values of which each has to be right for all to be: the bounds, or the choices."""
        return self.choices or (self.low, self.high)


def as_flag(name: str, value: object) -> str:
    """A flag for a command line; a float is written such that reading it gives the same bits."""
    return f"--{name}={value!r}" if isinstance(value, float) else f"--{name}={value}"


def read(path: str, train_flags: Sequence[str]) -> tuple[Parameter, ...]:
    """Returns the space that a file describes.

    Args:
      train_flags: the other flags of all trials.

    Raises:
      InputError: with one line that names the entry that is wrong, or if PyYAML is missing.
    """
    try:
        with local_files.reading(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, expected a file of YAML") from None
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path}: has more than {_MOST_BYTES:,} bytes")
    try:
        found = parse(data)
        for parameter in found:
            _check_values(parameter, train_flags)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return found


def parse(data: bytes) -> tuple[Parameter, ...]:
    """Returns the space of a YAML text.

    Raises:
      ValueError: with a line that names the entry that is wrong.
      InputError: if PyYAML is missing.
    """
    entries = list(_entries(data))
    if not 0 < len(entries) <= _MOST_FLAGS:
        raise ValueError(f"found {len(entries)} flags, expected 1 to {_MOST_FLAGS}")
    found = []
    for name, fields in entries:
        try:
            _check_name(name)
            found.append(_parameter(name, fields))
        except ValueError as error:
            raise ValueError(f"{shown(name)[1:-1]}: {error}") from None
    return tuple(found)


def _entries(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each flag and its fields; nothing is built that is nested deeper than a list of texts."""
    try:
        import yaml
    except ImportError:
        raise InputError(
            "PyYAML not found, which reads the space of a sweep; pip install "
            "'mnist_estimator[sweep]'"
        ) from None

    try:
        loader = yaml.SafeLoader(data.decode("utf-8"))
        for name, node in _pairs(yaml, loader, loader.get_single_node(), "the whole"):
            fields = _pairs(yaml, loader, node, shown(name)[1:-1])
            yield name, {key: _plain(yaml, loader, value, key) for key, value in fields}
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML ({' '.join(str(error).split())[:300]})") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _pairs(yaml: Any, loader: Any, node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The keys and nodes of a mapping, whose keys are texts and differ."""
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{where} is no mapping, expected entries as NAME: VALUE")
    seen = set()
    for key_node, value in node.value:
        key = _scalar(yaml, loader, key_node)
        if type(key) is not str or not key.isprintable():
            raise ValueError(f"{where} has the key {shown(key)}, expected a name")
        if key in seen:
            raise ValueError(f"{where} has {shown(key)} twice")
        seen.add(key)
        yield key, value


def _plain(yaml: Any, loader: Any, node: Any, key: str) -> Any:
    if isinstance(node, yaml.SequenceNode):
        if len(node.value) > _MOST_CHOICES:
            raise ValueError(f"{key} has more than {_MOST_CHOICES:,} items")
        return [_scalar(yaml, loader, item) for item in node.value]
    return _scalar(yaml, loader, node)


def _scalar(yaml: Any, loader: Any, node: Any) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("found a list or mapping, expected a plain value")
    return loader.construct_object(node)


def _check_name(name: str) -> None:
    """Raises ValueError unless a sweep may vary the flag of this name."""
    fields = {field.name: field for field in flag_fields.fields_of(config.TrainConfig)}
    if name not in fields:
        raise ValueError("train has no such flag")
    affects = set(fields[name].metadata["affects"])
    if not affects <= _VARIED:
        raise ValueError(
            f"found a flag of {' and '.join(sorted(affects - _VARIED))}, which is the same in all "
            "trials; expected one that training follows from, as learning_rate"
        )


def _parameter(name: str, fields: dict[str, Any]) -> Parameter:
    kind = fields.get("type")
    if kind not in TYPES:
        raise ValueError(f"type is {shown(kind)}, expected one of {', '.join(TYPES)}")
    required, optional = (["choices"], []) if kind == CATEGORICAL else (["low", "high"], [])
    if kind != CATEGORICAL:
        optional = ["log", "step"]
    for key in required:
        if key not in fields:
            raise ValueError(f"found no {key}, which type: {kind} needs")
    for key in fields:
        if key not in ("type", *required, *optional):
            expected = ", ".join([*required, *optional])
            raise ValueError(f"found {shown(key)}, expected only type, {expected}")
    if kind == CATEGORICAL:
        return Parameter(name, kind, choices=_choices(fields["choices"]))
    return _range(name, kind, fields)


def _choices(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"choices is {shown(values)}, expected a list of two values or more")
    found = [_choice(value) for value in values]
    for text in found:
        if found.count(text) > 1:
            raise ValueError(f"choices has {shown(text)} twice")
    return tuple(found)


def _choice(value: Any) -> str:
    if type(value) is bool:
        return str(value).lower()
    if type(value) not in (str, int, float) or not str(value).isprintable():
        raise ValueError(f"choices has {shown(value)}, expected text, numbers, true or false")
    return repr(value) if type(value) is float else str(value)


def _range(name: str, kind: str, fields: dict[str, Any]) -> Parameter:
    low, high = (_number(fields[key], key, kind) for key in ("low", "high"))
    step = _number(fields["step"], "step", kind) if "step" in fields else 0
    log = fields.get("log", False)
    if type(log) is not bool:
        raise ValueError(f"log is {shown(log)}, expected true or false")
    if not low < high:
        raise ValueError(f"low is {low} and high is {high}, expected low to be less")
    if log and low <= 0:
        raise ValueError(f"low is {low} with log: true, expected more than 0")
    if "step" in fields:
        _check_step(low, high, step, log)
    return Parameter(name, kind, low, high, step, log)


def _check_step(low: float, high: float, step: float, log: bool) -> None:
    if log:
        raise ValueError("found step with log: true, expected one of them")
    if step <= 0:
        raise ValueError(f"step is {step}, expected more than 0")
    count = (high - low) / step
    if count < 1 - _SLACK or abs(count - round(count)) > _SLACK:
        raise ValueError(f"step is {step}, expected {high} to be whole steps from {low}")


def _number(value: Any, key: str, kind: str) -> float:
    if kind == INT:
        if type(value) is not int or abs(value) > _MOST_WHOLE:
            raise ValueError(f"{key} is {shown(value)}, expected a whole number")
        return value
    if type(value) is str and _NUMBER.fullmatch(value):
        value = float(value)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{key} is {shown(value)}, expected a number, as 0.1 or 1e-4")
    return float(value)


def _check_values(parameter: Parameter, train_flags: Sequence[str]) -> None:
    """Raises ValueError if `train` would refuse one of a flag's values."""
    for value in parameter.extremes:
        try:
            passed_flags.parse([*train_flags, as_flag(parameter.name, value)])
        except InputError as error:
            line = str(error).removeprefix(f"{passed_flags.WHERE}: ")
            raise ValueError(f"{parameter.name}: {line}") from None
