"""What `tf.contrib.estimator` did to an estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_estimator.compat._loaded import estimator_v1, tf, v1

_PREDICT_OUTPUTS = ("predict", v1.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY)


def forward_features(
    estimator: Any,
    keys: str | Sequence[str] | None = None,
    sparse_default_values: Mapping[str, Any] | None = None,
) -> Any:
    """An estimator whose predictions also hold features, as an id that goes with each example.

    Args:
      keys: of the features; None: all.
      sparse_default_values: key of a sparse feature -> what stands where it has nothing.

    Raises:
      TypeError: if keys are no strings.
      ValueError: when the model is made, for a feature that is not there, not a tensor, or has the
        key of a prediction.
    """
    keys = [keys] if isinstance(keys, str) else keys
    if keys is not None and not all(isinstance(key, str) for key in keys):
        raise TypeError(f"keys are {keys!r}, expected strings")

    def model_fn(features: Any, labels: Any, mode: Any, config: Any) -> Any:
        spec = estimator.model_fn(features, labels, mode, config)
        if spec.predictions is None:
            return spec
        if not isinstance(spec.predictions, dict):
            raise ValueError(f"predictions are {type(spec.predictions)}, expected a dict")
        forwarded = {
            key: _tensor(key, features, spec.predictions, sparse_default_values or {})
            for key in (features if keys is None else keys)
        }
        spec.predictions.update(forwarded)
        for name in _PREDICT_OUTPUTS:
            output = (spec.export_outputs or {}).get(name)
            if isinstance(output, estimator_v1.export.PredictOutput):
                output.outputs.update(forwarded)
        return spec

    return _copy(estimator, model_fn)


def clip_gradients_by_norm(optimizer: Any, clip_norm: float) -> Any:
    """The optimizer with gradients clipped to a global norm."""
    return _Clipped(optimizer, clip_norm)


class _Clipped(v1.train.Optimizer):
    def __init__(self, optimizer: Any, clip_norm: float) -> None:
        super().__init__(use_locking=False, name=f"ClipByNorm{optimizer.get_name()}")
        self._optimizer, self._clip_norm = optimizer, clip_norm

    def compute_gradients(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.compute_gradients(*args, **kwargs)

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Any:
        gradients, variables = zip(*grads_and_vars, strict=True)
        clipped, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        pairs = list(zip(clipped, variables, strict=True))
        return self._optimizer.apply_gradients(pairs, global_step, name)

    def get_slot(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.get_slot(*args, **kwargs)

    def get_slot_names(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.get_slot_names(*args, **kwargs)


def _tensor(key: str, features: Any, predictions: Any, defaults: Mapping[str, Any]) -> Any:
    if key not in features:
        raise ValueError(f"found no feature {key!r} to forward, expected one of {sorted(features)}")
    if key in predictions:
        raise ValueError(f"the feature {key!r} has the key of a prediction; give other keys")
    feature = features[key]
    if isinstance(feature, tf.SparseTensor):
        if key not in defaults:
            raise ValueError(f"the feature {key!r} is sparse, expected it in sparse_default_values")
        return tf.sparse.to_dense(feature, default_value=defaults[key])
    if key in defaults:
        raise ValueError(f"the feature {key!r} is in sparse_default_values, but is not sparse")
    return tf.convert_to_tensor(feature)


def _copy(estimator: Any, model_fn: Callable[..., Any]) -> Any:
    return estimator_v1.Estimator(
        model_fn=model_fn, model_dir=estimator.model_dir, config=estimator.config
    )
