"""Images as data URIs."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from mnist_estimator.compat import tf
from mnist_estimator.reporting import pngs


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_an_image_can_be_decoded_again(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 3, channels), np.uint8)
    uri = pngs.data_uri(image)
    assert uri.startswith("data:image/png;base64,")
    decoded = tf.io.decode_png(base64.b64decode(uri.partition(",")[2])).numpy()
    shown = image if channels in (1, 3, 4) else image[..., :1]
    np.testing.assert_array_equal(decoded, shown)
