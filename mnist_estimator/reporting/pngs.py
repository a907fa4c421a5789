"""Images as data URIs, so that a page needs no files beside it."""

from __future__ import annotations

import base64

import numpy as np

from mnist_estimator.compat import tf


def data_uri(image: np.ndarray) -> str:
    """An image uint8 [H,W,C] as a PNG; if C is not 1, 3 or 4, the first channel is shown."""
    shown = image if image.shape[-1] in (1, 3, 4) else image[..., :1]
    encoded = tf.io.encode_png(np.ascontiguousarray(shown)).numpy()
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
