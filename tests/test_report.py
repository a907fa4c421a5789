"""The report command: what the page says, that a real browser shows it, and what it answers."""

import base64
import importlib.util
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
import types
from html.parser import HTMLParser

import numpy as np
import pytest
from support import programs
from support.datasets import CLASSES, TEST, array_source

from mnist_estimator import InputError, report
from mnist_estimator.compat import tf
from mnist_estimator.data import writer
from mnist_estimator.reporting import curves, page, panels
from mnist_estimator.runs import open_run
from mnist_estimator.runtime import progress

# Names as nobody would give them, to be shown and not to be believed.
NAMES = ("<b>up</b>", "a&b", '"quoted"', "$x$ 'y'")
FLAGS = {
    "model_dir": "",
    "data_dir": "",
    "checkpoint": "",
    "model": "",
    "split": None,
    "grid_class": 0,
    "title": "",
}


def require(found, what):
    """Skips a test where something is not installed, but not in CI, where it would be forgotten."""
    if not found:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"{what} is not installed, so the report was not looked at")


@pytest.fixture(scope="module", autouse=True)
def matplotlib():
    require(importlib.util.find_spec("matplotlib"), "matplotlib, of the extra 'report'")


def command(name, *flags, cwd, code=0, run=programs.run):
    result = run(programs.command(name, *flags), cwd=cwd)
    assert result.returncode == code, result.stderr
    return result.stdout, result.stderr


def write_data(folder, *, test=TEST):
    writer.write_dataset(
        str(folder),
        dataset="squares",
        train=array_source(82),
        test=array_source(test, seed=1) if test else None,
        num_classes=CLASSES,
        class_names=NAMES,
        validation_split="12",
        shards=3,
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a run of softmax regression, and a copy of it that has lost its events."""
    folder = tmp_path_factory.mktemp("work")
    write_data(folder / "data")
    flags = ["--data_dir=data", "--max_steps=20", "--save_checkpoints_steps=10", "--log_steps=5"]
    flags += ["--model=softmax", "--optimizer=sgd", "--learning_rate=0.1"]
    command("train", *flags, "--model_dir=runs/first", cwd=folder, run=programs.run_forked)
    shutil.copytree(folder / "runs/first", folder / "runs/second")
    for path in (folder / "runs/second").glob("*tfevents*"):
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def pages(work):
    """The pages of one run, made by the command itself, and of both."""
    stdout, stderr = command(
        "report", "--model_dir=runs/first", "--output=one.html", "--grid_class=1", cwd=work
    )
    (work / "stdout").write_text(stdout)
    (work / "stderr").write_text(stderr)
    two = make(work, model_dir="runs/first,runs/second")
    return {"one": (work / "one.html").read_text(encoding="utf-8"), "two": two}


def make(work, **given):
    """What `main` writes for some flags; in this process, for TensorFlow takes seconds to start."""
    output = given.pop("output", str(work / "page.html"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        values = types.SimpleNamespace(**FLAGS | given, output=output)
        patch.setattr(report.flags, "FLAGS", values)
        report.main([])
    return (work / output).read_text(encoding="utf-8")


class Content(HTMLParser):
    """Text, attributes, ids and images of a page; complains where its tags do not match."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.text, self.attributes, self.ids, self.images, self.open = "", [], [], [], []
        self.tags = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_command_says_what_it_does_and_where_the_page_is(work, pages):
    said = (work / "stdout").read_text()
    assert re.fullmatch(r"one\.html: 0\.\d\d MB, runs/first\n", said)
    line = "evaluating runs/first on the 23 test examples of squares\n"
    assert (work / "stderr").read_text() == line
    assert not (work / "one.html.tmp").exists()


def test_the_page_shows_what_evaluate_finds(work, pages):
    metrics = json.loads((work / "runs/first/metrics.json").read_text())
    text = Content(pages["one"]).text
    assert f"Accuracy{metrics['accuracy']:.2%}" in text
    assert f"Loss{metrics['loss']:.4f}" in text
    assert f"Calibration error{metrics['calibration_error']:.4f}" in text
    rows = [f"{name}{rate:.4f}" for name, rate in zip(NAMES, metrics["precision"], strict=True)]
    assert [row for row in rows if row not in text] == []
    cells = re.findall(r'<td class="(?:right|wrong|none)"[^>]*>(\d+)</td>', pages["one"])
    assert list(map(int, cells)) == sum(metrics["confusion_matrix"], [])
    for fact in ("softmax", "0.1, cosine", "70 train, 12 validation, 23 test", "squares, 8x8x1"):
        assert fact in text


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


def test_curves_are_of_training_and_of_evaluation(work, pages):
    (drawn,) = re.findall("<h2>Curves</h2>(.*?)</section>", pages["one"], re.DOTALL)
    for metric in ("loss", "accuracy"):
        assert f'aria-label="{metric} over steps: training (batch) and evaluation"' in drawn
    training, problem = curves._training_curves(str(work / "runs/first"))
    assert (training["loss"][0], problem) == ([5, 10, 15, 20], "")
    assert "Evaluations compared" not in pages["one"]


def test_two_runs_stand_side_by_side(pages):
    content = Content(pages["two"])
    assert "<title>squares: first and second</title>" in pages["two"]
    headings = re.findall("<h3>(.*?)</h3>", pages["two"])
    assert headings.count("first") == headings.count("second") == 7
    (compared,) = re.findall("<h2>Evaluations compared</h2>(.*?)</section>", pages["two"], re.S)
    assert compared.count("<svg") == 2
    # Of the copy, the events are gone.
    assert "No training curve: runs/second holds no events of one." in content.text
    differing = re.findall(r'<tr class=differs><th scope="row">(.*?)</th>', pages["two"])
    assert set(differing) == {"Checkpoint"}


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_page_needs_nothing_but_itself(pages, which):
    html, content = pages[which], Content(pages[which])
    assert "://" not in html
    urls = [value for name, value in content.attributes if name in ("src", "href", "xlink:href")]
    assert [url for url in urls if not url.startswith(("data:image/png;base64,", "#"))] == []
    assert [url for url in re.findall(r"url\((.*?)\)", html) if not url.startswith("#")] == []
    assert not {"script", "link", "iframe", "object"} & set(content.tags)


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_page_is_well_formed(pages, which):
    html, content = pages[which], Content(pages[which])
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(set(content.ids)) == len(content.ids)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    assert used and used <= set(content.ids)
    assert content.tags.count("h1") == content.tags.count("title") == 1
    # Neither a colour that stands for a property nor one that follows no theme.
    plots = "".join(re.findall("<svg.*?</svg>", html, re.DOTALL))
    assert re.findall("#[0-9a-f]{6}", plots) == []


def test_what_comes_from_the_data_is_escaped(pages):
    for name in NAMES:
        assert name in Content(pages["one"]).text
    assert "<b>" not in pages["one"]
    given = page.document("<i>", "&", [page.note("</p>")])
    assert "<title>&lt;i&gt;</title>" in given and "&lt;/p&gt;" in given


def test_the_same_runs_give_the_same_page(work, pages):
    assert make(work, model_dir="runs/first", grid_class=1) == pages["one"]


def test_without_a_test_split_the_page_is_of_the_validation_split_and_says_so(work, monkeypatch):
    # And, in the same go, what becomes of a confusion matrix of many classes.
    monkeypatch.setattr(panels, "_TABLE_CLASSES", CLASSES - 1)
    write_data(work / "untested", test=0)
    html = make(work, model_dir="runs/first", data_dir="untested", title="<mine>")
    assert "<h1>&lt;mine&gt;</h1>" in html
    assert html.count('<img class="map"') == 1 and "Most frequent confusions" in html
    text = Content(html).text
    assert "all 12 validation examples of squares. The data has no test split." in text
    with pytest.raises(InputError, match="no examples in the test split"):
        make(work, model_dir="runs/first", data_dir="untested", split="test")


def test_too_many_classes_leave_their_parts_out(work, monkeypatch):
    monkeypatch.setattr(open_run, "make_scores", lambda manifest: None)
    text = Content(make(work, model_dir="runs/first")).text
    assert text.count("Left out: the data has more classes than can be looked through.") == 3


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda data: data[:-3], 19),
        (lambda data: b"\x07" * 2000, 0),
        (lambda data: b"", 0),
    ],
)
def test_damaged_events_are_shown_as_far_as_they_go(work, tmp_path, spoil, found):
    (events,) = (work / "runs/first").glob("*tfevents*")
    shutil.copytree(work / "runs/first", tmp_path / "run")
    (tmp_path / "run" / events.name).write_bytes(spoil(events.read_bytes()))
    read = curves.read(str(tmp_path / "run"))
    assert max(read.training.get("loss", ([0],))[0]) <= max(found, 15)
    assert ("loss" in read.training) == bool(found)
    assert re.match("The training curve ends early|No training curve", read.problem)
    assert "\n" not in read.problem


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"model_dir": "none"}, "none/run.json: not found, expected the record of a run"),
        ({"model_dir": "runs/first,"}, "--model_dir: found 'runs/first,', expected folders"),
        ({"model_dir": "runs/first,runs/first"}, "--model_dir: found runs/first twice"),
        ({"model_dir": "a,b", "checkpoint": "c-7"}, "--checkpoint: found c-7, expected best or"),
        ({"checkpoint": "c-7"}, "--checkpoint: c-7 not found, expected one of runs/first"),
        ({"model_dir": "runs/empty"}, "runs/empty: found no checkpoint, expected one"),
        ({"data_dir": "none"}, "none: no manifest.json, expected the prepared dataset of the run"),
        ({"grid_class": 4}, "--grid_class: found 4, expected 0 to 3"),
        ({"grid_class": -1}, "--grid_class: found -1, expected 0 to 3"),
        ({"output": "runs"}, "--output: found runs, expected the name of a file"),
        ({"output": "none/page.html"}, "none/page.html"),
        ({"output": "stdout/page.html"}, "stdout/page.html"),
    ],
)
def test_a_mistake_is_one_line_and_no_page(work, pages, given, line, capsys):
    (work / "runs/empty").mkdir(exist_ok=True)
    shutil.copy(work / "runs/first/run.json", work / "runs/empty/run.json")
    with pytest.raises(InputError) as error:
        make(work, **{"model_dir": "runs/first", "output": "never.html"} | given)
    assert line in str(error.value)
    progress.complain(error.value)
    assert capsys.readouterr().err.splitlines()[-1].count(line) == 1
    assert not (work / "never.html").exists()


def test_without_matplotlib_it_says_how_to_get_it(work):
    """And before TensorFlow is there, as --help and wrong flags are answered."""
    hidden = "import runpy, sys; sys.modules['matplotlib'] = None; sys.argv[0] = 'report'; "
    start = "runpy.run_module('mnist_estimator.report', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", hidden + start, "--model_dir=runs/first"],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("report: matplotlib not found")
    assert done.stderr.endswith("pip install 'mnist_estimator[report]'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "code", "said"),
    [("--help", 0, "--grid_class"), ("--split=all", 2, "--split"), ("--foo", 2, "foo")],
)
def test_flags_are_answered_without_tensorflow(tmp_path, flag, code, said):
    started = time.monotonic()
    stdout, stderr = command("report", flag, cwd=tmp_path, code=code)
    assert said in (stderr if code else stdout)
    assert code == 0 or stderr.count("\n") == 1
    assert time.monotonic() - started < 30


class Browser:
    """A headless Chromium, driven over pipes by the Chrome DevTools Protocol."""

    def __init__(self, path, profile):
        (here, self._to), (self._from, there) = os.pipe(), os.pipe()
        self._buffer, self._number, self._session, self.events = b"", 0, {}, []

        def give_pipes():
            # Which Chromium expects as 3 and 4; by way of others, as these may be one of the four.
            os.dup2(here, 63), os.dup2(there, 64)
            os.dup2(63, 3), os.dup2(64, 4)

        options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        options += "--disable-background-networking --disable-component-update --disable-sync "
        options += f"--remote-debugging-pipe --user-data-dir={profile} about:blank"
        self._process = subprocess.Popen(
            [path, *options.split()],
            preexec_fn=give_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(here), os.close(there)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url, width, scheme="light"):
        """Opens a page in a window of a width; returns what its root measures."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not self.of("Page.loadEventFired"):
            self.events.append(self._read())

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def of(self, *methods):
        return [event["params"] for event in self.events if event.get("method") in methods]

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._to), os.close(self._from)

    def _read(self):
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], 60)[0], "Chromium does not answer"
            block = os.read(self._from, 2**20)
            assert block, "Chromium has ended"
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    require(path, "Chromium (apt-get install chromium)")
    browser = Browser(path, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.parametrize("width", [1280, 375])
def test_a_browser_shows_all_of_the_page(pages, browser, tmp_path, which, width):
    path = tmp_path / "page.html"
    path.write_text(pages[which], encoding="utf-8")
    browser.open(path.as_uri(), width)
    assert browser.of("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    asked = [event["request"]["url"] for event in browser.of("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    root = "document.documentElement"
    assert browser.value(f"{root}.scrollWidth <= {root}.clientWidth")
    # What is wider than the window is so in a box that scrolls.
    outside = (
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll > *') && "
        "!e.closest('svg *') && e.getBoundingClientRect().right > innerWidth).length"
    )
    assert browser.value(outside) == 0
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.value(broken) == 0
    columns = "getComputedStyle(document.querySelector('.runs')).gridTemplateColumns"
    side_by_side = which == "two" and width == 1280
    # Columns that nothing is in have no width.
    widths = [width for width in browser.value(columns).split() if width != "0px"]
    assert len(widths) == (2 if side_by_side else 1)
    shot = base64.b64decode(browser.call("Page.captureScreenshot")["data"])
    assert len(np.unique(tf.io.decode_png(shot).numpy())) > 50


def test_plots_and_page_follow_the_theme(pages, browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(pages["one"], encoding="utf-8")
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(path.as_uri(), 1280, scheme)
        label = "getComputedStyle(document.querySelector('svg text')).fill"
        back = "getComputedStyle(document.body).backgroundColor"
        seen[scheme] = [
            sum(map(int, re.findall(r"\d+", browser.value(what))[:3])) for what in (label, back)
        ]
    assert seen["light"][0] < 200 < 600 < seen["light"][1]
    assert seen["dark"][1] < 200 < 600 < seen["dark"][0]
