"""The examples of the data, and other pictures on a page."""

from __future__ import annotations

import base64
import json

import numpy as np
from support.datasets import CLASSES, TEST, array_source
from support.reports import NAMES, Content

from mnist_estimator.compat import tf


def test_the_page_shows_pictures_of_the_data_the_mistakes_and_the_weights(work, pages):
    metrics = json.loads((work / "runs/first/metrics.json").read_text())
    images = Content(pages["one"]).images
    # On this data nothing is always right, or the test would show nothing.
    mistakes = round(23 * (1 - metrics["accuracy"]))
    label = array_source(TEST, seed=1).labels
    of_class_1 = min(int((label == 1).sum()), 25)
    assert len(images) == mistakes + CLASSES + CLASSES + of_class_1
    assert all(image["alt"] and image["src"].startswith("data:image/png;") for image in images)
    assert f"{of_class_1} of class a&b" in Content(pages["one"]).text
    # The records' order is that of the shards: every third example of the source.
    alt, source = f"test example 0: {NAMES[label[0]]}", array_source(TEST, seed=1).images[0]
    (shown,) = [image["src"] for image in images if image["alt"] == alt]
    decoded = tf.io.decode_png(base64.b64decode(shown.partition(",")[2])).numpy()
    np.testing.assert_array_equal(decoded, source)
