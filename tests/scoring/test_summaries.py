"""What TensorBoard is given of an evaluation, read back as it reads it."""

from __future__ import annotations

import numpy as np
import pytest
from support.datasets import CLASSES
from support.scored import LABELS, PROBABILITIES, scored
from support.short_runs import train
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)
from tensorboard.plugins.hparams import metadata as hparams_metadata

from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import events
from mnist_estimator.scoring import summaries


def test_the_confusion_picture_is_green_on_the_diagonal_and_red_beside_it():
    picture = summaries.confusion_picture(np.array([[98, 2], [0, 50]]))
    cell = len(picture) // 3
    corner = [picture[(row + 1) * cell + 1, (column + 1) * cell + 1] for row, column in _PLACES]
    red, green, blue = np.array(corner, int).T
    assert (green > red).tolist() == [True, False, False, True]
    assert red[1] > green[1]  # 2 of 100 still can be seen.
    assert (red[2], green[2], blue[2]) == (255, 255, 255)
    # Its numbers are drawn.
    assert (picture[:cell, cell:].reshape(-1, 3) == 0).all(axis=1).any()


_PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_numbers_are_drawn_from_their_glyphs():
    box = np.full([7, 14, 3], 255, np.uint8)
    summaries._draw(box, "17", 0, 0, 14, 7)
    drawn = ["".join(".#"[pixel] for pixel in row) for row in (box[..., 0] == 0).astype(int)]
    assert [row[3:11] for row in drawn[1:6]] == [
        ".#..###.",
        "##....#.",
        ".#...#..",
        ".#...#..",
        "###..#..",
    ]


def test_a_number_too_wide_for_its_box_is_left_out():
    box = np.full([8, 8, 3], 255, np.uint8)
    summaries._draw(box, "12345", 0, 0, 8)
    assert (box == 255).all()


def test_every_mistake_is_in_the_picture():
    found = scored(LABELS, PROBABILITIES)
    picture = summaries.mistakes_picture(found, (2, 3, 1))
    assert {mistake.index for mistake in found.mistakes} <= set(np.unique(picture))


@pytest.mark.parametrize("shape", [(5, 3, 3, 1), (70, 28, 28, 3)])
def test_filters_are_shown_in_rows(shape):
    picture = summaries.filters_picture(np.random.default_rng(0).normal(size=shape))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 1


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"conv1/kernel": [5, 5, 1, 32], "dense/kernel": [12, 7]}, (32, 5, 5, 1)),
        ({"logits/bias": [10], "logits/kernel": [12, 10]}, (10, 3, 4, 1)),
        ({"deep/kernel": [99, 10]}, None),
        ({"conv/kernel": [5, 5, 1, 0], "dense/kernel": [12, 0]}, None),
    ],
)
def test_the_first_layer_is_found(weights, expected):
    found = summaries.first_layer({k: np.zeros(v) for k, v in weights.items()}, (3, 4, 1))
    assert (found.shape if found is not None else None) == expected


def test_a_dense_units_weights_lie_as_the_pixels_do():
    kernel = np.arange(24).reshape(12, 2)
    found = summaries.first_layer({"k": kernel}, (3, 4, 1))
    assert found[1, 2, 1, 0] == kernel[2 * 4 + 1, 1]


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=[37, 5]).astype(np.float32),
        np.random.default_rng(1).normal(size=[3, 20_000]).astype(np.float32),  # Several blocks.
        np.linspace(-1, 1, 61, dtype=np.float32),  # On the edges of buckets.
        np.full([4], 0.1, np.float32),
        np.zeros([3, 0], np.float32),
        np.array([0, 5e-324]),  # A bucket has no width.
        np.array([1, np.nan, 2], np.float32),
        np.array([1, np.inf, 2], np.float32),
        np.array([-np.inf, 1, np.inf], np.float32),
        np.full([2], np.inf, np.float32),
        np.array([-1.7e308, 1.7e308]),
    ],
    ids=lambda values: str(values.ravel()[:3]),
)
def test_a_histogram_is_that_of_tensorboard(values):
    with np.errstate(all="ignore"):
        expected = v1.Summary.FromString(histogram_pb("weights/a", values).SerializeToString())
    # As bytes: NaN equals nothing.
    found = summaries._histogram("weights/a", values)
    assert found.SerializeToString() == expected.SerializeToString()


_WEIGHTS = ("kernel", "bias")


def test_a_run_fills_tensorboards_pages(tmp_path, make_dataset):
    train(tmp_path / "run", make_dataset(), model="dnn", hidden_units="5", max_steps=4)
    found = plugin_event_multiplexer.EventMultiplexer()
    found.AddRunsFromDirectory(str(tmp_path)).Reload()
    contents = found.PluginRunToTagToContent(hparams_metadata.PLUGIN_NAME)["run"]
    session = hparams_metadata.parse_session_start_info_plugin_data(
        contents[hparams_metadata.SESSION_START_INFO_TAG]
    )
    assert session.hparams["hidden_units"].string_value == "5"
    assert session.hparams["learning_rate"].number_value == pytest.approx(0.001)
    assert hparams_metadata.EXPERIMENT_TAG in contents
    for folder in ("run/eval", "run/eval_test"):
        assert {"accuracy", "loss"} <= found.PluginRunToTagToContent("scalars")[folder].keys()
    curves = found.PluginRunToTagToContent("pr_curves")["run/eval"]
    assert len(curves) == CLASSES
    histograms = found.PluginRunToTagToContent("histograms")["run/eval"]
    layers = [f"weights/{layer}/{what}" for layer in ("dense1", "logits") for what in _WEIGHTS]
    assert sorted(histograms) == sorted(layers)
    images = found.PluginRunToTagToContent("images")["run/eval"]
    assert set(images) == {summaries.CONFUSION, summaries.MISTAKES, summaries.FILTERS}
    (event,) = found.Tensors("run/eval", summaries.CONFUSION)
    assert tf.io.decode_png(event.tensor_proto.string_val[2]).shape[2] == 3


def write_scalars(folder, accuracy):
    writer = events.writer(str(folder))
    values = [
        v1.Summary.Value(tag=tag, simple_value=value)
        for tag, value in (("accuracy", accuracy), ("loss", 1 - accuracy))
    ]
    writer.add_summary(v1.Summary(value=values), 4)
    writer.flush()


def test_the_hparams_page_compares_the_evaluations(tmp_path):
    """As TensorBoard's own plugin answers the page."""
    defaults = {"learning_rate": 0.001, "model": "cnn", "momentum": 0.9, "use_ema": True}
    for name, rate in (("a", 0.001), ("b", 0.5)):
        flags = defaults | {"learning_rate": rate, "model": "dnn", "left_out": None}
        summaries.write_hparams(f"{tmp_path}/{name}", flags, defaults)
        write_scalars(tmp_path / name, 1.0)  # Of a batch of training.
        write_scalars(tmp_path / name / "eval", rate)
        write_scalars(tmp_path / name / "eval_test", rate / 2)
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    page = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    every = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING]
    asked = api_pb2.ListSessionGroupsRequest(allowed_statuses=every, slice_size=9)
    found = list_session_groups.Handler(context.RequestContext(), page, "x", asked).run()
    shown = {
        run.name: [(each.name.group, each.name.tag, each.value) for each in run.metric_values]
        for group in found.session_groups
        for run in group.sessions
    }
    assert shown == {
        name: [
            ("eval", "accuracy", pytest.approx(rate)),
            ("eval", "loss", pytest.approx(1 - rate)),
            ("eval_test", "accuracy", pytest.approx(rate / 2)),
            ("eval_test", "loss", pytest.approx(1 - rate / 2)),
        ]
        for name, rate in (("a", 0.001), ("b", 0.5))
    }
    asked = api_pb2.GetExperimentRequest()
    experiment = get_experiment.Handler(context.RequestContext(), page, "x", asked).run()
    assert [metric.display_name for metric in experiment.metric_infos] == [
        *("validation accuracy", "validation loss", "test accuracy", "test loss"),
    ]
    # Flags that are not the default come first.
    names = [flag.name for flag in experiment.hparam_infos if flag.differs]
    assert names in (["model"], ["learning_rate", "model"])
    every = [flag.name for flag in experiment.hparam_infos]
    assert every[: len(names)] == names
    assert sorted(every) == sorted(defaults)
    types = {flag.name: flag.type for flag in experiment.hparam_infos}
    assert types["use_ema"] == api_pb2.DATA_TYPE_BOOL
    assert types["model"] == api_pb2.DATA_TYPE_STRING
    assert types["momentum"] == api_pb2.DATA_TYPE_FLOAT64


def test_a_profile_lies_where_tensorboard_looks_for_it(tmp_path, make_dataset, capsys):
    options = {"profile_steps": "3,5", "model": "softmax", "max_steps": 8}
    train(tmp_path / "run", make_dataset(), **options)
    (profile,) = (tmp_path / "run/plugins/profile").glob("*/*.xplane.pb")
    assert profile.stat().st_size > 1000
    assert "profiled steps to 5" in capsys.readouterr().err
