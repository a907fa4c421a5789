"""A network with random weights, asked as a server asks it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnist_estimator.compat import v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.serving import signatures

SHAPE, CLASSES = (6, 5, 1), 4


class Server:
    """A network with random weights, trained on data whose brightest pixel is given."""

    def __init__(self, brightest_pixel: int, session: v1.Session) -> None:
        self.white, self._session = full_scale(brightest_pixel), session
        names = tuple(map(str, range(CLASSES)))
        data = TrainedOn(SHAPE, CLASSES, names, brightest_pixel, "digit", "0" * 64)
        params = TrainConfig(model="dnn", hidden_units="16").model_params(data)
        self._built = signatures.build(signatures.EXPORTED, params, data)
        session.run(v1.global_variables_initializer())

    def images(self) -> np.ndarray:
        """Images as the records have them, each with a brightest pixel."""
        generator = np.random.default_rng(0)
        images = generator.integers(0, self.white + 1, (3, *SHAPE)).astype(np.uint8)
        images[:, 0, 0] = self.white
        return images

    def ask(self, name: str, value: Any) -> dict[str, np.ndarray]:
        signature = self._built[name]
        (placeholder,) = signature.inputs.values()
        return self._session.run(signature.outputs, {placeholder: value})

    def probabilities(self, name: str, value: Any) -> np.ndarray:
        return self.ask(name, value)["probabilities"]
