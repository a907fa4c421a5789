"""Settings that keep their types."""

from __future__ import annotations

import copy
import pickle

import pytest

from mnist_estimator.compat.contrib.hparam import HParams, parse_values


@pytest.fixture
def hparams():
    return HParams(a=1, b=2.0, c=True, d="text", e=[1, 2], f=[0.5], g=[True], h=None)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=3,b=4,c=false,d=other", {"a": 3, "b": 4.0, "c": False, "d": "other"}),
        ("e=[4,5 6], f=[1]", {"e": [4, 5, 6], "f": [1.0]}),
        ("c=0, g=[1,0,True]", {"c": False, "g": [True, False, True]}),
        ("a = -5 ,b=1e-3", {"a": -5, "b": 0.001}),
        ("d=", {"d": ""}),
        ("d=a=b", {"d": "a=b"}),
        ("", {}),
    ],
)
def test_parse(hparams, text, values):
    before = hparams.values()
    assert hparams.parse(text) is hparams
    assert hparams.values() == {**before, **values}
    for name, value in values.items():
        assert type(getattr(hparams, name)) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z=1", "Unknown hyperparameter type for z"),
        ("a=1.5", "Could not parse hparam 'a' of type 'int' with value '1.5' in a=1.5"),
        ("c=maybe", "hparam 'c' of type 'bool' with value 'maybe'"),
        ("e=[1,x]", "hparam 'e'"),
        ("e=1", "multi-valued parameter, found no list"),
        ("a=[1]", "single-valued parameter, found a list"),
        ("a=1,a=2", "Multiple assignments to variable 'a'"),
        ("e[0]=1,e[0]=2", "Multiple assignments"),
        ("e[0]=[1]", "list to a list index"),
        ("a", "Malformed hyperparameter value: a"),
        ("a=1;b=2", "Could not parse"),
        ("e=[1,2", "Malformed"),
        ("h=1", "NoneType"),
    ],
)
def test_parse_refuses(hparams, text, message):
    before = hparams.values()
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        hparams.parse(text)
    assert hparams.values() == before


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("b", 3, 3.0), ("e", [True, 4], None), ("h", "any", "any"), ("f", [1, 2.5], [1.0, 2.5])],
)
def test_set(hparams, name, value, expected):
    if expected is None:
        with pytest.raises(ValueError, match="Could not cast"):
            hparams.set_hparam(name, value)
    else:
        hparams.set_hparam(name, value)
        assert getattr(hparams, name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("a", 1.5), ("a", True), ("a", "1"), ("b", "1"), ("c", 1), ("d", 3), ("e", 1), ("a", [1])],
)
def test_set_refuses_another_type(hparams, name, value):
    with pytest.raises(ValueError, match=name):
        hparams.set_hparam(name, value)
    with pytest.raises(ValueError, match=name):
        hparams.override_from_dict({name: value})


def test_names(hparams):
    with pytest.raises(KeyError, match="no hparam 'z'"):
        hparams.set_hparam("z", 1)
    with pytest.raises(ValueError, match="reserved: a"):
        hparams.add_hparam("a", 2)
    with pytest.raises(ValueError, match="reserved: values"):
        HParams(values=1)
    with pytest.raises(ValueError, match="cannot be empty: z"):
        hparams.add_hparam("z", [])
    hparams.add_hparam("z", (1, 2))
    assert "z" in hparams and hparams.z == (1, 2)
    hparams.del_hparam("z")
    hparams.del_hparam("z")
    assert "z" not in hparams and not hasattr(hparams, "z")


def test_get(hparams):
    assert (hparams.get("a"), hparams.get("a", 5), hparams.get("z", 7)) == (1, 1, 7)
    assert (hparams.get("z"), hparams.get("e", [3])) == (None, [1, 2])
    for name, default in (("a", "x"), ("e", 1), ("a", [1])):
        with pytest.raises(ValueError, match=name):
            hparams.get(name, default)


def test_json_and_text():
    hparams = HParams(b=[1, 2], a="x")
    assert hparams.to_json() == '{"b": [1, 2], "a": "x"}'
    assert hparams.to_json(sort_keys=True, separators=(",", ":")) == '{"a":"x","b":[1,2]}'
    assert hparams.parse_json('{"b": [3]}').values() == {"a": "x", "b": [3]}
    assert (str(hparams), repr(hparams)) == ("b=[3],a=x", "HParams([('a', 'x'), ('b', [3])])")
    for other in (copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert other.parse("b=[9]").values() == {"a": "x", "b": [9]}
    assert hparams.b == [3]


def test_messages_of_tensorflow_1_are_refused():
    for use in (lambda: HParams(hparam_def=object()), lambda: HParams(a=1).to_proto()):
        with pytest.raises(NotImplementedError, match="to_json"):
            use()


def test_parse_values_alone():
    assert parse_values("a[1]=2,a[3]=4,z=1", {"a": int}, ignore_unknown=True) == {"a": {1: 2, 3: 4}}
    with pytest.raises(ValueError, match="Unknown"):
        parse_values("z=1", {"a": int})


def test_the_model_structure_is_kept():
    hparams = HParams(model_structure="first", a=1)
    assert (hparams.get_model_structure(), hparams.values()) == ("first", {"a": 1})
    hparams.set_model_structure("second")
    assert hparams.get_model_structure() == "second"
