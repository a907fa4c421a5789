"""Serves an exported SavedModel over HTTP with KServe's model server.

  pip install 'mnist_estimator[serve]'
  python -m mnist_estimator.serve --export_dir=tboard/mod1/export/best/3500

Requests and answers are those of TensorFlow Serving's REST API: POST to /v1/models/model:predict,
with `instances`, and with `signature_name` for another signature than serving_default. A wrong
request is answered with status 400 and a line that says what is wrong, a too long one with 413.
"""

from __future__ import annotations

import importlib.util
import os

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.runtime import flag_fields, help_text, program


def define_flags() -> None:
    """Defines the command's flags."""
    flag_fields.define_path("export_dir", "", "Folder of the SavedModel, named after its step.")
    flags.DEFINE_string("name", "model", "Name of the model in the URL.")
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    flags.DEFINE_integer("port", 8501, "Port to listen on.", lower_bound=1, upper_bound=65535)
    help_text.group("The model", ["export_dir", "name"])
    help_text.group("The server", ["host", "port"])


def main(argv: list[str]) -> None:
    """Reads the flags, and serves until it is stopped."""
    given = flags.FLAGS
    graph = os.path.join(given.export_dir, "saved_model.pb")
    if "://" not in graph and not os.path.exists(graph):
        raise InputError(
            f"--export_dir: found no {graph}, expected an exported model, as "
            "MODEL_DIR/export/best/STEP"
        )
    if importlib.util.find_spec("kserve") is None:
        raise InputError("kserve not found; pip install 'mnist_estimator[serve]'")
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.serving import server

    server.run(given.export_dir, given.name, given.host, given.port)


if __name__ == "__main__":
    define_flags()
    program.run(main)
