"""The preparation of pictures as a part of exports: kept or built, it is the same graph."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
from support.exports import picture

from mnist_estimator.compat import tf, v1
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.serving import picture_graph


def trained_on(channels: int) -> TrainedOn:
    return TrainedOn((9, 7, channels), 2, ("a", "b"), 255, "plain", "")


GREY = trained_on(1)
DEEP = trained_on(12)  # Which no picture is, so that its graph is small.


@pytest.fixture(autouse=True)
def graphs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches/mnist_estimator/graphs"


@pytest.fixture
def built(monkeypatch):
    """The shapes of the images for which operations were built."""
    shapes, build = [], picture_graph.build

    def noted(encoded, data):
        shapes.append(data.image_shape)
        return build(encoded, data)

    monkeypatch.setattr(picture_graph, "build", noted)
    return shapes


def graph(data: TrainedOn) -> v1.MetaGraphDef:
    """A graph with stand-ins, and with another operation of the same scope."""
    with tf.Graph().as_default(), tf.name_scope(picture_graph.SCOPE):
        encoded = v1.placeholder(tf.string, [None], picture_graph.IMAGE_BYTES)
        tf.cast(picture_graph.stand_in(encoded, data).images, tf.float32, "floats")
        return v1.train.export_meta_graph(strip_default_attrs=True)


def inserted(data: TrainedOn) -> v1.MetaGraphDef:
    found = graph(data)
    picture_graph.insert(found, data)
    return found


def answers(meta_graph: v1.MetaGraphDef, encoded: list[bytes]) -> list[np.ndarray]:
    names = ["prepared/images", "floats", "prepared/has_ink", "prepared/problems"]
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(meta_graph)
        scope = picture_graph.SCOPE
        fed = {f"{scope}/{picture_graph.IMAGE_BYTES}:0": np.array(encoded, object)}
        return session.run([f"{scope}/{name}:0" for name in names], fed)


def test_the_operations_are_built_once_and_then_kept(graphs, built):
    first = inserted(DEEP)
    assert [path.stat().st_mode & 0o777 for path in graphs.iterdir()] == [0o600]
    again = inserted(DEEP)
    assert built == [(9, 7, 12)]
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(
        deterministic=True
    )


def test_pictures_are_prepared_by_what_was_inserted():
    image = np.arange(63, dtype=np.uint8).reshape(9, 7, 1)
    images, floats, has_ink, problems = answers(inserted(GREY), [picture(image), b"no picture"])
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(floats, images)
    assert has_ink.tolist() == [True, False]
    assert problems[0] == b"" and problems[1]


def test_what_is_loaded_from_those_kept_prepares_as_what_is_built():
    encoded = [picture(np.full([5, 5, 1], 77, np.uint8)), b"", b"BM"]
    inserted(GREY)  # So that they are kept.
    with tf.Graph().as_default(), v1.Session() as session:
        fed = tf.constant(encoded)
        expected, found = session.run(
            [picture_graph.build(fed, GREY), picture_graph.load(fed, GREY)]
        )
    for values, others in zip(expected, found, strict=True):
        np.testing.assert_array_equal(values, others)


@pytest.mark.parametrize("damage", ["cut", "other code", "other TensorFlow", "not writable"])
def test_operations_are_built_again_where_none_fit(graphs, built, monkeypatch, damage):
    expected = inserted(DEEP).SerializeToString(deterministic=True)
    (path,) = graphs.iterdir()
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "other code":
        code = pathlib.Path.read_bytes
        monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: code(path) + b"# more")
    elif damage == "other TensorFlow":
        monkeypatch.setattr(tf, "__version__", "9.9.9")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    assert inserted(DEEP).SerializeToString(deterministic=True) == expected
    assert len(built) == 2


def test_each_shape_of_images_has_its_own(built):
    inserted(DEEP)
    with tf.Graph().as_default():
        encoded = v1.placeholder(tf.string, [None])
        for channels in (12, 5):
            images = picture_graph.load(encoded, trained_on(channels)).images
            assert images.shape.as_list() == [None, 9, 7, channels]
    assert built == [(9, 7, 12), (9, 7, 5)]


def test_names_are_made_by_no_counter_of_the_process():
    before = v1.control_flow_v2_enabled()
    found = inserted(GREY)
    assert v1.control_flow_v2_enabled() == before
    assert not found.graph_def.library.function
    assert "Enter" in {node.op for node in found.graph_def.node}
