"""A model behind KServe's model server, asked as TensorFlow Serving is.

KServe's first protocol has the URL and the outer form of TensorFlow Serving's REST API. What is
within, signatures and instances, is read here, and each mistake in it is an error of one line.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import concurrent.futures
import json
import logging
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf
from mnist_estimator.data.manifest import checked_shape
from mnist_estimator.runtime import files, json_files, progress
from mnist_estimator.runtime.files import error_line, file_errors
from mnist_estimator.scoring.scores import UNDEFINED
from mnist_estimator.serving import saved_model, sessions, signatures

_READ_OF_TOO_LONG = 4  # How much of a too long request is read, in limits.
MOST_BYTES = 2**25  # Of a request: a batch of 128 MNIST images in JSON has half a megabyte.
MOST_INSTANCES = 2**14  # Of a request.
_BATCH = 128  # Instances that the network computes at once: its layers need much more than they do.


def run(export_dir: str, name: str, host: str, port: int) -> None:
    """Serves a SavedModel until the process gets a signal.

    Raises:
      RunError: if the model cannot be loaded.
    """
    _quiet()
    served = sessions.load_eagerly(export_dir).signatures
    _warm_up(served, export_dir)
    from kserve import ModelRepository, model_server
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.server import RESTServer

    models = ModelRepository()
    models.update(_kserve_model(name, served))
    model_server.app.add_middleware(Limited, most_bytes=MOST_BYTES)
    app = "kserve.model_server:app"
    rest = RESTServer(app, DataPlane(models), ModelRepositoryExtension(models), port)
    rest.config.host = host  # KServe itself listens on all addresses.
    progress.say(f"serving {export_dir} at http://{host}:{port}/v1/models/{name}", sys.stdout)
    asyncio.run(rest.start())


def answer(served: Mapping[str, Any], request: Any) -> dict[str, Any]:
    """The answer to a request: `predictions`, a row for each of its instances.

    Args:
      served: the signatures of a loaded SavedModel.
      request: JSON, or the value of it.

    Raises:
      InputError: with a line that says what is wrong with the request.
    """
    if isinstance(request, bytes):
        request = _parsed(request)
    if not isinstance(request, dict) or not isinstance(request.get("instances"), list):
        raise InputError("expected an object with a list of instances")
    name = request.get("signature_name", signatures.SERVING_DEFAULT)
    if not isinstance(name, str) or name not in served:
        raise InputError(f"signature_name: expected one of {', '.join(sorted(served))}")
    if not request["instances"]:
        return {"predictions": []}
    if len(request["instances"]) > MOST_INSTANCES:
        raise InputError(
            f"found {len(request['instances']):,} instances, expected at most {MOST_INSTANCES:,}"
        )
    signature = served[name]
    ((key, wanted),) = signature.structured_input_signature[1].items()
    values = _values(request["instances"], key, wanted.dtype)
    predictions: list[dict[str, Any]] = []
    for start in range(0, len(values), _BATCH):
        try:
            found = signature(**{key: tf.constant(values[start : start + _BATCH], wanted.dtype)})
        except tf.errors.OpError as error:
            raise InputError(error_line(error)) from error
        arrays = {output: value.numpy() for output, value in found.items()}
        _check_defined(arrays, start)
        rows = {output: _as_json(array) for output, array in arrays.items()}
        predictions += (
            dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)
        )
    return {"predictions": predictions}


def _check_defined(arrays: Mapping[str, np.ndarray], start: int) -> None:
    """Raises InputError for the first instance whose answer is not a number.

    Where no digit was found nobody asks for one.
    """
    for array in arrays.values():
        if array.dtype.kind == "f":
            undefined = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
            undefined &= arrays.get(signatures.HAS_INK, np.True_)
            if undefined.any():
                place = start + int(undefined.argmax())
                raise InputError(f"instance {place}: the network's answer {UNDEFINED}")


def _parsed(request: bytes) -> Any:
    try:
        return json.loads(request)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}") from None


def _values(instances: list[Any], key: str, dtype: tf.DType) -> np.ndarray:
    """The instances, each a value or an object with one, as an array of the signature's type."""
    given = []
    for instance in instances:
        if isinstance(instance, dict) and set(instance) == {key}:
            instance = instance[key]
        given.append(_decoded(instance) if dtype == tf.string else instance)
    if dtype == tf.string:
        return np.array(given, object)
    try:
        values = np.array(given)
    except ValueError:
        raise InputError(f"{key}: expected instances of one shape") from None
    if values.size and values.dtype.kind not in "iuf":  # Not truth values, nor null.
        raise InputError(f"{key}: expected numbers")
    wanted = dtype.as_numpy_dtype
    if wanted == np.uint8 and values.size and not _are_bytes(values):
        raise InputError(f"{key}: expected whole numbers from 0 to 255")
    return values.astype(wanted)


def _are_bytes(values: np.ndarray) -> bool:
    return values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 255


def _decoded(instance: Any) -> bytes:
    """The bytes of a text, or of {"b64": TEXT}."""
    if isinstance(instance, str):
        return instance.encode("utf-8", "replace")
    if isinstance(instance, dict) and isinstance(instance.get("b64"), str):
        try:
            return base64.b64decode(instance["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise InputError("b64: expected base64") from None
    raise InputError('expected {"b64": "..."}')


def _as_json(value: np.ndarray) -> list[Any]:
    if value.dtype == object:
        return [_text(each) for each in value.tolist()]
    return value.tolist()


def _text(value: Any) -> Any:
    return [_text(each) for each in value] if isinstance(value, list) else value.decode()


def _kserve_model(name: str, served: Mapping[str, Any]) -> Any:
    """The model as KServe asks it."""
    import kserve
    from kserve.errors import InvalidInput

    # As many at once as there are cores: a picture may need 290 MiB.
    threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    class Model(kserve.Model):
        async def predict(self, payload: Any, *_: Any, **__: Any) -> dict[str, Any]:
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(threads, answer, served, payload)
            except InputError as error:
                raise InvalidInput(str(error)) from None

    model = Model(name)
    model.ready = True
    return model


def _warm_up(served: Mapping[str, Any], export_dir: str) -> None:
    """Asks each signature once: the first request to one takes seconds."""
    shape = _image_shape(export_dir)
    examples = signatures.example_requests(shape) if shape else {}
    for name in set(examples) & set(served):
        (values,) = examples[name].values()
        if name == signatures.CLASSIFY:
            values = [example.SerializeToString() for example in values]
        ((key, wanted),) = served[name].structured_input_signature[1].items()
        served[name](**{key: tf.constant(values, wanted.dtype)})


def _image_shape(export_dir: str) -> tuple[int, int, int] | None:
    """The shape of a model's images; None where an older version exported it without."""
    path = os.path.join(export_dir, saved_model.EXTRA_FOLDER, saved_model.MODEL_FILE)
    with file_errors(path):
        data = files.read_bytes(path, json_files.MOST_BYTES)
    try:
        model = json_files.expect(json_files.parse(data or b"{}"), dict, "the whole")
        return checked_shape(model["image_shape"]) if "image_shape" in model else None
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); export the model again") from None


def _quiet() -> None:
    """Leaves out of the log what comes with every start, and with every request."""
    from kserve.errors import InvalidInput

    for name in ("absl", "kserve", "kserve.trace", "uvicorn", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"fastapi\.")
    logging.getLogger("kserve").addFilter(
        lambda entry: not (entry.exc_info and isinstance(entry.exc_info[1], InvalidInput))
    )


_App = Callable[[Any, Any, Any], Awaitable[None]]


class Limited:
    """An ASGI application that refuses requests of more than so many bytes."""

    def __init__(self, app: _App, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, size, more = bytearray(), 0, True
        # A client that still sends sees a reset in place of the answer, so a little more is read.
        while more and size <= _READ_OF_TOO_LONG * self._most:
            message = await receive()
            if message["type"] != "http.request":  # The client has gone.
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size <= self._most:
                body += message.get("body", b"")
        if size > self._most:
            await _refuse(send, self._most)
            return
        whole = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def received() -> Any:
            return next(whole, None) or await receive()

        await self._app(scope, received, send)


async def _refuse(send: Any, most: int) -> None:
    body = json.dumps({"error": f"longer than {most:,} bytes"}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
