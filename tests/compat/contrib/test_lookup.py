"""Tables of words and places."""

from __future__ import annotations

import pytest

from mnist_estimator.compat import tf, v1


@pytest.fixture
def lookup(contrib):
    return contrib.lookup


def test_tables_of_tensors(evaluate, lookup):
    places = lookup.index_table_from_tensor(mapping=["a", "b"], num_oov_buckets=1)
    numbers = lookup.index_table_from_tensor(mapping=tf.constant([7, 9]), dtype=tf.int64)
    words = lookup.index_to_string_table_from_tensor(mapping=["a", "b"], default_value="?")
    asked = tf.constant([1, 2], tf.int64)
    found = evaluate(
        [
            places.lookup(tf.constant(["b", "z"])),
            numbers.lookup(tf.constant([9, 8], tf.int64)),
            words.lookup(asked),
            lookup.string_to_index(tf.constant(["b", "z"]), mapping=["a", "b"]),
            lookup.index_to_string(asked, mapping=["a", "b"]),
            lookup.string_to_index_table_from_tensor(["a"], 0, -5).lookup(tf.constant(["q"])),
        ]
    )
    expected = [[1, 2], [1, -1], [b"b", b"?"], [1, -1], [b"b", b"UNK"], [-5]]
    assert [each.tolist() for each in found] == expected


def test_tables_of_files(evaluate, lookup, tmp_path):
    file = tmp_path / "words"
    file.write_text("a\nb\n")
    tables = [
        lookup.index_table_from_file(str(file), default_value=9),
        lookup.string_to_index_table_from_file(str(file), default_value=8),
        lookup.HashTable(lookup.TextFileIdTableInitializer(str(file)), 7),
    ]
    found = evaluate([table.lookup(tf.constant(["b", "z"])) for table in tables])
    assert [each.tolist() for each in found] == [[1, 9], [1, 8], [1, 7]]


def test_hash_tables(graph, lookup):
    start = lookup.KeyValueTensorInitializer(["x", "y"], [1, 2])
    table = lookup.HashTable(start, -1)
    changing = lookup.MutableHashTable(tf.string, tf.int64, default_value=-1)
    asked = tf.constant(["y", "z"])
    with v1.Session(graph=graph) as session:
        with pytest.raises(tf.errors.FailedPreconditionError):
            session.run(table.lookup(asked))
        session.run([table.init, changing.insert(tf.constant(["z"]), tf.constant([5], tf.int64))])
        found = session.run([table.lookup(asked), changing.lookup(asked)])
        assert [each.tolist() for each in found] == [[2, -1], [-1, 5]]
