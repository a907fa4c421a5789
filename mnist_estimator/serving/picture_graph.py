"""The graph that prepares pictures, as a part of exports: built once, and kept for later ones.

Its operations are nine in ten of an export's, and take 2 s to build. They depend on how pictures
are prepared, on the shape of the images, on TensorFlow and on this package's code, and on nothing
of the trained network. So an export has placeholders in their place, `stand_in`, until it is
written. Then `insert` puts the operations there, as they were built or kept. A process that
prepares pictures itself takes them into its graph with `load`.
"""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from mnist_estimator import __version__
from mnist_estimator.compat import tf, v1
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.pictures import preparation
from mnist_estimator.pictures.methods import DIGIT
from mnist_estimator.runtime import user_cache

SCOPE = "predict_images"  # Of all of it, which is also the signature's name.
IMAGE_BYTES = "image_bytes"
_KIND = "graphs"


class Prepared(NamedTuple):
    """What becomes of N pictures.

    Attributes:
      images: uint8 [N,H,W,C].
      has_ink: bool [N]: False where a picture should show a digit and shows nothing.
      problems: string [N]: why a picture cannot be read; "" if it can.
    """

    images: tf.Tensor
    has_ink: tf.Tensor
    problems: tf.Tensor


def build(encoded: tf.Tensor, data: Manifest | TrainedOn) -> Prepared:
    """Prepares pictures, string [N], for a network that was trained on these data."""
    channels = data.image_shape[2]
    if data.pictures == DIGIT:
        images, has_ink, problems = preparation.digits_and_problems(encoded, data.image_shape)
    elif channels <= preparation.MAX_CHANNELS:
        images, problems = preparation.plain_and_problems(encoded, data.image_shape)
        has_ink = tf.equal(problems, "")
    else:  # No picture has so many channels. The other signatures take such images.
        line = f"a picture, which has no {channels} channels, as the images have"
        problems = tf.fill(tf.shape(encoded), line)
        images = tf.zeros([tf.size(encoded), *data.image_shape], tf.uint8)
        has_ink = tf.fill(tf.shape(encoded), False)
    return Prepared(images, has_ink, problems)


def load(encoded: tf.Tensor, data: Manifest | TrainedOn) -> Prepared:
    """As `build`, by the operations that were kept; these have no gradients."""
    found = tf.import_graph_def(
        _meta_graph(data).graph_def,
        {f"{SCOPE}/{IMAGE_BYTES}": encoded},
        [f"{SCOPE}/prepared/{name}:0" for name in Prepared._fields],
        name="kept",
    )
    return Prepared(*found)


def stand_in(encoded: tf.Tensor, data: Manifest | TrainedOn) -> Prepared:
    """Placeholders in the place of what `build` would give; build them in the scope `SCOPE`."""
    with tf.name_scope("prepared"):
        return Prepared(
            v1.placeholder(tf.uint8, [None, *data.image_shape], "images"),
            v1.placeholder(tf.bool, [None], "has_ink"),
            v1.placeholder(tf.string, [None], "problems"),
        )


def insert(meta_graph: v1.MetaGraphDef, data: Manifest | TrainedOn) -> None:
    """Puts the operations that prepare pictures in the place of a graph's `stand_in`."""
    pictures = _meta_graph(data)
    nodes = meta_graph.graph_def.node
    inserted = {node.name for node in pictures.graph_def.node}
    others = [node for node in nodes if node.name not in inserted]
    del nodes[:]
    nodes.extend([*pictures.graph_def.node, *others])
    ops = meta_graph.meta_info_def.stripped_op_list.op
    known = {op.name: op for op in (*pictures.meta_info_def.stripped_op_list.op, *ops)}
    del ops[:]
    ops.extend(known[name] for name in sorted(known))


@contextlib.contextmanager
def reproducible_names() -> Iterator[None]:
    """Builds loops and conditions as operations of the graph, as TensorFlow 1 did.

    TensorFlow 2 builds functions, and names them by a counter of the whole process. Then a model
    that is exported after training would differ from the same model exported by a restarted run.
    """
    before = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if before:
            v1.enable_control_flow_v2()


def _meta_graph(data: Manifest | TrainedOn) -> v1.MetaGraphDef:
    shape = "x".join(map(str, data.image_shape))
    name, key = f"{data.pictures}-{shape}-tensorflow-{tf.__version__}.pb", _code()
    kept = user_cache.read(_KIND, name, key)
    if kept is not None:
        return v1.MetaGraphDef.FromString(kept)
    built = _built(data)
    user_cache.keep(_KIND, name, key, built.SerializeToString(deterministic=True))
    return built


def _built(data: Manifest | TrainedOn) -> v1.MetaGraphDef:
    with tf.Graph().as_default() as graph, tf.name_scope(SCOPE), reproducible_names():
        encoded = v1.placeholder(tf.string, [None], IMAGE_BYTES)
        with tf.name_scope("preparation"):
            prepared = build(encoded, data)
        with tf.name_scope("prepared"):
            for name, tensor in prepared._asdict().items():
                tf.identity(tensor, name)
        for collection in graph.collections:  # Of loops and conditions, in the order of a set.
            graph.clear_collection(collection)
        return v1.train.export_meta_graph(strip_default_attrs=True)


def _code() -> str:
    """The digest of the code that builds the operations."""
    digest = hashlib.sha256(__version__.encode())
    folder = pathlib.Path(preparation.__file__).parent
    for path in (*sorted(folder.glob("*.py")), pathlib.Path(__file__)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
