"""`tf.contrib.training.HParams`: named settings that keep their types."""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

_SETTING = re.compile(
    r"""(?P<name>[a-zA-Z][\w.]*)
        (?:\[\s*(?P<index>\d+)\s*\])?       # A place in a list: "a[1]".
        \s*=\s*
        (?:(?P<value>[^,\[]*) | \[(?P<values>[^\]]*)\])
        (?:$|,\s*)""",
    re.VERBOSE,
)
_WORDS = {"true": True, "True": True, "false": False, "False": False}


class HParams:
    """Settings, each an attribute. Its first value says its type, which it keeps.

        hparams = HParams(learning_rate=0.1, layers=[64, 32], train=True)
        hparams.parse("learning_rate=0.2,layers=[128],train=false")

    Args:
      hparam_def: a message of TensorFlow 1; none can be made any more.
      model_structure: any object, kept.
    """

    _HAS_DYNAMIC_ATTRIBUTES = True  # For type checkers.

    def __init__(self, hparam_def: Any = None, model_structure: Any = None, **kwargs: Any) -> None:
        if hparam_def:
            _no_message()
        self._hparam_types: dict[str, tuple[type, bool]] = {}
        self._model_structure = model_structure
        for name, value in kwargs.items():
            self.add_hparam(name, value)

    def add_hparam(self, name: str, value: Any) -> None:
        """Adds a setting.

        Raises:
          ValueError: if the name is taken, or the value is an empty list, which shows no type.
        """
        if getattr(self, name, None) is not None:
            raise ValueError(f"Hyperparameter name is reserved: {name}")
        if isinstance(value, (list, tuple)):
            if not value:
                raise ValueError(f"Multi-valued hyperparameters cannot be empty: {name}")
            self._hparam_types[name] = (type(value[0]), True)
        else:
            self._hparam_types[name] = (type(value), False)
        setattr(self, name, value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Changes a setting.

        Raises:
          KeyError: if there is none of that name.
          ValueError: if the value is not of its type.
        """
        if name not in self._hparam_types:
            raise KeyError(f"there is no hparam {name!r}; there are {sorted(self._hparam_types)}")
        kind, is_list = self._hparam_types[name]
        if isinstance(value, list) != is_list:
            given, needed = ("a list", "single") if not is_list else ("no list", "multi")
            raise ValueError(f"{name} is a {needed}-valued parameter, found {given}: {value!r}")
        if is_list:
            setattr(self, name, [_cast(name, kind, each) for each in value])
        else:
            setattr(self, name, _cast(name, kind, value))

    def del_hparam(self, name: str) -> None:
        """Removes a setting, if there is one of that name."""
        if hasattr(self, name):
            delattr(self, name)
            del self._hparam_types[name]

    def parse(self, values: str) -> HParams:
        """Changes settings as in "a=1,b=[1,2],c=true". Returns itself.

        Raises:
          ValueError: if the text, a name or a value is wrong.
        """
        types = {name: kind for name, (kind, _) in self._hparam_types.items()}
        return self.override_from_dict(parse_values(values, types))

    def override_from_dict(self, values_dict: Mapping[str, Any]) -> HParams:
        """Changes settings. Returns itself. Raises as `set_hparam`."""
        for name, value in values_dict.items():
            self.set_hparam(name, value)
        return self

    def set_from_map(self, values_map: Mapping[str, Any]) -> HParams:
        """`override_from_dict` by its older name."""
        return self.override_from_dict(values_map)

    def parse_json(self, values_json: str) -> HParams:
        """Changes settings as in '{"a": 1}'. Returns itself. Raises as `set_hparam`."""
        return self.override_from_dict(json.loads(values_json))

    def to_json(
        self, indent: Any = None, separators: tuple[str, str] | None = None, sort_keys: bool = False
    ) -> str:
        """The settings as JSON."""
        return json.dumps(self.values(), indent=indent, separators=separators, sort_keys=sort_keys)

    def values(self) -> dict[str, Any]:
        """Name -> value."""
        return {name: getattr(self, name) for name in self._hparam_types}

    def get(self, key: str, default: Any = None) -> Any:
        """A setting, or `default` if there is none of that name.

        Raises:
          ValueError: if `default` is not of the setting's type.
        """
        if key not in self._hparam_types:
            return default
        kind, is_list = self._hparam_types[key]
        if default is not None:
            if isinstance(default, list) != is_list:
                raise ValueError(f"default={default!r} is not of the type of hparam {key!r}")
            for each in default if is_list else [default]:
                _cast(key, kind, each)
        return getattr(self, key)

    def set_model_structure(self, model_structure: Any) -> None:
        """Keeps an object."""
        self._model_structure = model_structure

    def get_model_structure(self) -> Any:
        """The object that is kept."""
        return self._model_structure

    def to_proto(self, export_scope: str | None = None) -> NoReturn:
        """Not there. Raises NotImplementedError."""
        _no_message()

    @staticmethod
    def from_proto(hparam_def: Any, import_scope: str | None = None) -> NoReturn:
        """Not there. Raises NotImplementedError."""
        _no_message()

    def __contains__(self, key: str) -> bool:
        return key in self._hparam_types

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.values().items())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self.values().items())})"


def parse_values(
    values: str, type_map: Mapping[str, type], ignore_unknown: bool = False
) -> dict[str, Any]:
    """Reads "a=1,b=[1,2],c[0]=x": name -> value, list, or {place: value}.

    Raises:
      ValueError: if the text, a name or a value is wrong, or a name is given twice.
    """
    found: dict[str, Any] = {}
    position = 0
    while position < len(values):
        match = _SETTING.match(values, position)
        if not match:
            raise ValueError(f"Malformed hyperparameter value: {values[position:]}")
        position = match.end()
        name = match["name"]
        if name in type_map:
            _add(found, match, type_map[name], values)
        elif not ignore_unknown:
            raise ValueError(f"Unknown hyperparameter type for {name}")
    return found


def _add(found: dict[str, Any], match: re.Match[str], kind: type, values: str) -> None:
    name = match["name"]
    parse: Callable[[str], Any] = _boolean if kind is bool else kind
    text = match["values"] if match["value"] is None else match["value"]
    try:
        if match["value"] is not None:
            value: Any = parse(text)
        else:
            value = [parse(each) for each in re.split("[ ,]", text) if each]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Could not parse hparam '{name}' of type '{kind.__name__}' with value '{text}' in "
            f"{values}"
        ) from error
    if match["index"] is None:
        _set_once(found, name, value, values)
        return
    if match["value"] is None:
        raise ValueError("Assignment of a list to a list index.")
    if not isinstance(found.setdefault(name, {}), dict):
        raise ValueError(f"Multiple assignments to variable '{name}' in {values}")
    _set_once(found[name], int(match["index"]), value, values)


def _set_once(found: dict[Any, Any], key: Any, value: Any, values: str) -> None:
    if key in found:
        raise ValueError(f"Multiple assignments to variable '{key}' in {values}")
    found[key] = value


def _boolean(text: str) -> bool:
    return _WORDS[text] if text in _WORDS else bool(int(text))


def _cast(name: str, kind: type, value: Any) -> Any:
    """The value as its setting's type, where nothing is lost.

    Raises:
      ValueError: for a text that is none, a bool, a fraction for an integer.
    """
    if type(value) is kind or kind is type(None):
        return value
    needs = (numbers.Integral, numbers.Number, (str, bytes))
    fits = all(isinstance(value, need) for need in needs if issubclass(kind, need))
    if not fits or issubclass(kind, bool) != isinstance(value, bool):
        raise ValueError(f"Could not cast hparam '{name}' of type '{kind}' from value {value!r}")
    return kind(value)


def _no_message() -> NoReturn:
    raise NotImplementedError(
        "HParamDef went with TensorFlow 2.0: write HParams as JSON, with to_json and parse_json"
    )
