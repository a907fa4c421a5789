"""The checks of one field of a cluster's description."""

import pytest

from mnist_estimator import InputError
from mnist_estimator.cluster import fields


def test_addresses_are_given_back():
    hosts = ["a:1", "b.example.org:65535", "10.0.0.1:80", "[::1]:2222"]
    assert fields.addresses(hosts, "hosts") == tuple(hosts)


@pytest.mark.parametrize("host", ["a", "a:0", "a:65536", "::1:80", "a b:1", "-a:1", 7, "\u0665:1"])
def test_what_is_no_address_is_named_with_its_field(host):
    with pytest.raises(InputError, match=r"^hosts: found .*, expected host:port$"):
        fields.addresses([host], "hosts")


@pytest.mark.parametrize("hosts", [[], "a:1", None, {"a:1": 1}])
def test_what_is_no_list_of_addresses(hosts):
    with pytest.raises(InputError, match="expected a list of host:port"):
        fields.addresses(hosts, "hosts")


def test_whole_numbers():
    assert fields.whole(3, "n") == fields.whole("03", "n") == 3


@pytest.mark.parametrize("value", [True, 1.0, "-1", "1.5", "\u0663", "", None, "1" * 11])
def test_what_is_no_whole_number(value):
    with pytest.raises(InputError, match=r"^n: found .*, expected a whole number$"):
        fields.whole(value, "n")


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_what_is_no_json(text):
    with pytest.raises(InputError, match="^F: found .*, expected JSON"):
        fields.parsed(text, "F")


def test_a_long_value_is_shown_short():
    assert len(fields.shown("x" * 10_000)) <= 62
