"""Exports trained networks as SavedModels, all or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mnist_estimator import RunError, __version__, compat, storage
from mnist_estimator.compat import tf, v1
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.networks import NETWORKS
from mnist_estimator.predictions import uses_averages
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files, json_files, local_files, progress
from mnist_estimator.runtime.files import FILE_ERRORS, error_line, file_errors
from mnist_estimator.serving import card, picture_graph, sessions, signatures, warmup

CLASS_NAMES_FILE = "class_names.txt"  # In the assets: a line each.
EXTRA_FOLDER = "assets.extra"
MODEL_FILE = "model.json"  # In assets.extra: says which model it is.
_MODEL_PATH = os.path.join(EXTRA_FOLDER, MODEL_FILE)
CONFUSION_PATH = os.path.join(EXTRA_FOLDER, "confusion_matrix.png")  # In the model card.
_GRAPH = "saved_model.pb"  # Without it nobody takes a folder for a model.
# What an export cannot be loaded without.
_NEEDED = (
    _GRAPH,
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    f"assets/{CLASS_NAMES_FILE}",
)
_SCRATCH = re.compile(r"\.export-[0-9a-f]{16}(-old)?")  # What killed exports leave behind.
# All files of an export.
_FILES = re.compile(
    r"(saved_model|fingerprint)\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})"
    rf"|assets/{re.escape(CLASS_NAMES_FILE)}"
    rf"|{re.escape(EXTRA_FOLDER)}/({re.escape(MODEL_FILE)}|{re.escape(warmup.FILE)})"
    rf"|{re.escape(CONFUSION_PATH)}"
)


def export(
    params: Mapping[str, Any], trained_on: Manifest | TrainedOn, checkpoint: str, folder: str
) -> str:
    """Exports a checkpoint as a SavedModel to `folder/STEP`, all or nothing.

    Does nothing if that folder holds this very model already.

    Args:
      params: as for `model_fn.model_fn`.

    Returns:
      The path of the export.

    Raises:
      RunError: if it cannot be written.
    """
    path = os.path.join(folder, str(checkpoints.step_of(checkpoint)))
    model = json.dumps(describe(params, trained_on, checkpoint), indent=2) + "\n"
    try:
        is_there = _holds(path, model) and _is_readable(path)
        if not is_there or _has_other_graph(path, params, trained_on, checkpoint):
            with _uploading(path) if storage.is_ours(path) else _replacing(path) as scratch:
                save(signatures.EXPORTED, params, trained_on, checkpoint, scratch)
                _add_class_names(scratch, trained_on.class_names)
                _add_extra(scratch, trained_on, model)
    except (*FILE_ERRORS, OSError) as error:
        raise RunError(f"{path}: cannot be exported: {error_line(error)}") from error
    if not files.is_literal(os.path.abspath(path) if files.is_local(path) else path):
        progress.warn(
            f"{path}: TensorFlow's own loaders take this path for a pattern; copy the "
            "export to one without * ? [ and \\ to serve it"
        )
    return path


def save(
    names: Sequence[str],
    params: Mapping[str, Any],
    trained_on: Manifest | TrainedOn,
    checkpoint: str,
    folder: str,
) -> None:
    """Writes a SavedModel with signatures of these names and the weights of a checkpoint."""
    with tf.Graph().as_default():
        built = signatures.build(names, params, trained_on, signatures.WITHOUT_PICTURES)
        for key in (v1.GraphKeys.COND_CONTEXT, v1.GraphKeys.WHILE_CONTEXT):
            # Only gradients need them. They come in the order of a set, which is another one in
            # every process.
            v1.get_default_graph().clear_collection(key)
        with sessions.restore(checkpoint, averages=uses_averages(params)) as session:
            files.make_folder(folder)
            builder = v1.saved_model.Builder(folder)
            files.make_folder(os.path.join(folder, tf.saved_model.VARIABLES_DIRECTORY))
            builder.add_meta_graph_and_variables(
                session,
                [tf.saved_model.SERVING],
                {name: signature.definition(name) for name, signature in built.items()},
                strip_default_attrs=True,  # So that an older TensorFlow can read it.
            )
            if signatures.PREDICT_IMAGES in names:
                picture_graph.insert(compat.graph_to_save(builder), trained_on)
            builder.save()


def describe(
    params: Mapping[str, Any], trained_on: Manifest | TrainedOn, checkpoint: str
) -> dict[str, Any]:
    """The content of model.json, by which the same model is recognized.

    Raises:
      InputError: if the checkpoint cannot be read.
    """
    with file_errors(checkpoint):
        digest = checkpoints.digest(checkpoint)
    return {
        "checkpoint_sha256": digest,
        "manifest_sha256": trained_on.digest,
        "image_shape": trained_on.image_shape,
        "class_names": trained_on.class_names,
        "brightest_pixel": trained_on.brightest_pixel,
        "pictures": trained_on.pictures,
        "compute_dtype": params["serving_precision"],
        "averages": uses_averages(params),
        "views": params["views"],
        "temperature": params["temperature"],
        "signatures": signatures.EXPORTED,
        "mnist_estimator": __version__,
    }


def _has_other_graph(
    path: str, params: Mapping[str, Any], trained_on: Manifest | TrainedOn, checkpoint: str
) -> bool:
    """Whether an export's graph is not that of a network of the user's own as its code is now."""
    if all(each["model"] in NETWORKS for each in params["members"] or [params]):
        return False
    with files.memory_folder() as scratch:
        folder = os.path.join(scratch, "export")
        save(signatures.EXPORTED, params, trained_on, checkpoint, folder)
        found, now = (files.read_bytes(os.path.join(each, _GRAPH)) for each in (path, folder))
    return found != now


def _holds(path: str, model: str) -> bool:
    """Whether a folder has all files of an export of a model."""
    if files.read_bytes(os.path.join(path, _MODEL_PATH)) != model.encode():
        return False
    return all(tf.io.gfile.exists(os.path.join(path, name)) for name in _NEEDED)


def _is_readable(path: str) -> bool:
    """Whether the graph and the weights of an export can be read."""
    graphs = compat.graphs_of(files.read_bytes(os.path.join(path, _GRAPH)) or b"")
    return bool(graphs) and not checkpoints.damage(os.path.join(path, "variables", "variables"))


@contextlib.contextmanager
def _uploading(path: str) -> Iterator[str]:
    """Gives a local folder to write to; its files are copied to `path`, in an object store.

    There no folder can be renamed at once. So the graph goes first and comes last: a kill leaves
    what nobody takes for a model, and what the next export knows for its own.
    """
    _check_is_export(path)
    with files.temporary_folder() as folder:
        scratch = os.path.join(folder, "export")
        yield scratch
        _check_is_export(path)  # Once more, because writing has taken a while.
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(os.path.join(path, _GRAPH))
        names = [os.path.relpath(file, scratch) for file in files.walk(scratch)]
        for name in sorted(names, key=lambda name: (name == _GRAPH, name != _MODEL_PATH)):
            if name == _GRAPH:
                _remove_others(path, names)
            files.copy(os.path.join(scratch, name), os.path.join(path, name))


def _remove_others(path: str, names: Sequence[str]) -> None:
    """Removes the files of an older export that the new one does not have."""
    for file in list(files.walk(path)):
        if os.path.relpath(file, path) not in names:
            files.remove(file)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Gives a folder to write to; it replaces `path` if the block ends without an error."""
    _check_is_export(path)
    files.make_folders(os.path.dirname(path))
    name = f".export-{secrets.token_hex(8)}"
    scratch, old = (os.path.join(os.path.dirname(path), name + end) for end in ("", "-old"))
    try:
        yield scratch
        _check_is_export(path)  # Once more, because writing has taken a while.
        _sync(scratch)
        if tf.io.gfile.exists(path):
            tf.io.gfile.rename(path, old)
        tf.io.gfile.rename(scratch, path)
        files.sync(os.path.dirname(path))
    finally:
        files.remove_folder(scratch)
        if tf.io.gfile.exists(path):
            files.remove_folder(old)
            files.remove_left_overs(os.path.dirname(path), _SCRATCH.fullmatch)


def _sync(folder: str) -> None:
    """Forces all of a folder to the disk: a power failure leaves no empty files behind."""
    for place, _, names in tf.io.gfile.walk(folder):
        for name in [*names, ""]:
            files.sync(os.path.join(place, name))


def _check_is_export(path: str) -> None:
    """Raises RunError if a folder holds anything else than an export of this package."""
    files.check_no_link(path)
    found = {os.path.relpath(name, path) for name in files.walk(path)}
    strange = sorted(name for name in found if not _is_of_export(path, name))
    if found and _MODEL_PATH not in found:
        strange.insert(0, f"no {_MODEL_PATH}")
    if strange:
        raise RunError(
            f"{path}: found {strange[0]}, expected an export of this package or nothing; move it "
            "away, or export to another folder"
        )


def _is_of_export(path: str, name: str) -> bool:
    if name == card.FILE:  # Unless somebody has written it, or changed it.
        found = files.read_bytes(os.path.join(path, name), json_files.MOST_BYTES)
        return found is not None and card.is_ours(found)
    is_temporary = local_files.is_temporary(os.path.basename(name))  # Of a card: see card_files.
    return is_temporary or _FILES.fullmatch(name) is not None


def _add_class_names(folder: str, class_names: Sequence[str]) -> None:
    # Assets are usually added by a tensor with their path. That would put the path of the scratch
    # folder into the model, and no two exports would be alike.
    assets = os.path.join(folder, tf.saved_model.ASSETS_DIRECTORY)
    files.make_folder(assets)
    with files.created(os.path.join(assets, CLASS_NAMES_FILE)) as file:
        file.write("".join(f"{name}\n" for name in class_names).encode())


def _add_extra(folder: str, trained_on: Manifest | TrainedOn, model: str) -> None:
    extra = os.path.join(folder, EXTRA_FOLDER)
    files.make_folder(extra)
    examples = signatures.example_requests(trained_on.image_shape)
    requests = [
        warmup.classify_request(name, asked[signatures.EXAMPLES])
        if name == signatures.CLASSIFY
        else warmup.predict_request(name, asked)
        for name, asked in examples.items()
    ]
    warmup.write(os.path.join(extra, warmup.FILE), requests)
    # This file is the last one: an export that has it is whole.
    with files.created(os.path.join(extra, MODEL_FILE)) as file:
        file.write(model.encode())
