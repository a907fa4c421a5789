"""`tf.contrib.predictor`: a saved model or an estimator as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mnist_estimator.compat._loaded import v1

_DEFAULT = v1.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class Predictor:
    """A function of a dict of arrays, by name, that gives one. It keeps its session open.

    Attributes: `graph`, `session`; `feed_tensors` and `fetch_tensors`, by name.
    """

    def __init__(self, session: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        self.session, self.graph = session, session.graph
        find = self.graph.get_tensor_by_name
        self.feed_tensors = {key: find(name) for key, name in inputs.items()}
        self.fetch_tensors = {key: find(name) for key, name in outputs.items()}

    def __call__(self, input_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ValueError for a name that the model does not take."""
        unexpected = sorted(set(input_dict) - set(self.feed_tensors))
        if unexpected:
            expected = sorted(self.feed_tensors)
            raise ValueError(f"found the inputs {unexpected}, expected of {expected}")
        feed = {self.feed_tensors[k]: v for k, v in input_dict.items() if v is not None}
        return self.session.run(self.fetch_tensors, feed)

    def __repr__(self) -> str:
        tensors = f"feed tensors {self.feed_tensors} and fetch_tensors {self.fetch_tensors}"
        return f"{type(self).__name__} with {tensors}"


def from_saved_model(
    export_dir: str,
    signature_def_key: str | None = None,
    signature_def: Any = None,
    input_names: Mapping[str, str] | None = None,
    output_names: Mapping[str, str] | None = None,
    tags: str | None = None,
    graph: Any = None,
    config: Any = None,
) -> Predictor:
    """Loads a saved model.

    Args:
      signature_def_key: which signature; None: "serving_default".
      signature_def: a signature in place of one of the model's.
      input_names: name -> name of a tensor, in place of a signature; and so `output_names`.
      tags: separated by commas; None: "serve".

    Raises:
      ValueError: if arguments exclude one another, or there is no such signature.
    """
    if (input_names is None) != (output_names is None):
        raise ValueError("found one of input_names and output_names, expected both or none")
    given = [signature_def_key, signature_def, input_names]
    if sum(each is not None for each in given) > 1:
        raise ValueError("expected one of signature_def_key, signature_def and input_names at most")
    session = v1.Session(graph=graph or v1.Graph(), config=config)
    with session.graph.as_default():
        loaded = v1.saved_model.load(session, (tags or "serve").split(","), export_dir)
    if input_names is None:
        signature = signature_def or _signature(loaded, signature_def_key or _DEFAULT, export_dir)
        input_names, output_names = _names(signature)
    return Predictor(session, input_names, output_names)


def from_estimator(
    estimator: Any,
    serving_input_receiver_fn: Callable[[], Any],
    output_key: str | None = None,
    graph: Any = None,
    config: Any = None,
) -> Predictor:
    """Loads an estimator's newest checkpoint.

    Args:
      output_key: which of the export_outputs; None: "serving_default".

    Raises:
      KeyError: if there is no such output.
      ValueError: if there is no checkpoint.
    """
    checkpoint = estimator.latest_checkpoint()
    if not checkpoint:
        raise ValueError(f"{estimator.model_dir} has no checkpoint; train the estimator first")
    with (graph or v1.Graph()).as_default():
        receiver = serving_input_receiver_fn()
        spec = estimator.model_fn(receiver.features, None, "infer", estimator.config)
        outputs = spec.export_outputs or {}
        key = output_key or _DEFAULT
        if key not in outputs:
            raise KeyError(f"output_key is {key!r}, expected one of {sorted(outputs)}")
        signature = outputs[key].as_signature_def(receiver.receiver_tensors)
        creator = v1.train.ChiefSessionCreator(
            spec.scaffold, config=config, checkpoint_filename_with_path=checkpoint
        )
        session = v1.train.MonitoredSession(session_creator=creator)
        return Predictor(session, *_names(signature))


def from_contrib_estimator(*args: Any, **kwargs: Any) -> NoReturn:
    """Not there. Raises NotImplementedError."""
    raise NotImplementedError(
        "tf.contrib.learn.Estimator went with TensorFlow 2.0: make a tf.estimator.Estimator, and "
        "use tf.contrib.predictor.from_estimator"
    )


def _signature(loaded: Any, key: str, export_dir: str) -> Any:
    # Exports of tf.contrib.learn have the second kind of name.
    for name in (key, f"default_input_alternative:{key}"):
        if name in loaded.signature_def:
            return loaded.signature_def[name]
    found = sorted(loaded.signature_def)
    raise ValueError(f"{export_dir}: found no signature {key!r}, expected one of {found}")


def _names(signature: Any) -> tuple[dict[str, str], dict[str, str]]:
    inputs = {key: info.name for key, info in signature.inputs.items()}
    return inputs, {key: info.name for key, info in signature.outputs.items()}
