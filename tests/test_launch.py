"""A whole cluster on this machine: what launch starts, shows, starts again and ends."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from support import programs

from mnist_estimator import launch
from mnist_estimator.runtime import signals

FLAGS = ["--dataset=sample", "--data_dir=data", "--model=softmax", "--batch_size=60"]
FLAGS += ["--log_steps=100", "--save_checkpoints_steps=100"]
# Else much of the time would go into evaluations.
ONLY_TRAIN = ["--eval_split=none", "--export=none"]
COMMAND = [sys.executable, "-m", "mnist_estimator.launch"]
TIMEOUT_SECS = 240


def start(work: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tasks_of(launcher: subprocess.Popen) -> dict[str, int]:
    """Process ids of the running tasks by role and index, from their TF_CONFIG."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    found = {}
    for pid in children:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        (config,) = [entry for entry in environ if entry.startswith(b"TF_CONFIG=")]
        task = json.loads(config.partition(b"=")[2])["task"]
        found[f"{task['type']} {task['index']}"] = int(pid)
    return found


@pytest.mark.smoke
def test_a_cluster_trains_to_the_end(work):
    arguments = ("--workers=2", "--ps=1", "--evaluator", "--", *FLAGS)
    launcher = start(work, *arguments, "--model_dir=ps", "--max_steps=300")
    out, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 0, err
    assert {line.partition("|")[0].strip() for line in (out + err).splitlines()} == {
        "chief 0",
        "worker 0",
        "ps 0",
        "evaluator 0",
    }
    assert "chief 0     | step 30" in out
    assert json.loads((work / "ps/status.json").read_text())["state"] == "done"


def test_a_synchronous_worker_that_is_killed_comes_back_and_the_run_goes_on(work):
    arguments = ("--workers=2", "--max_restarts=3", "--", *FLAGS, *ONLY_TRAIN)
    launcher = start(work, *arguments, "--model_dir=sync", "--max_steps=2000")
    programs.wait_for_checkpoint(work / "sync", 100, launcher)
    os.kill(tasks_of(launcher)["worker 0"], signal.SIGKILL)
    out, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 0, err
    assert "worker 0 ended with 137: starting it again" in err
    assert "chief 0 ended with 138: starting it again" in err
    assert "step 2000: test accuracy 0." in out


def test_a_parameter_server_that_is_killed_comes_back_with_the_newest_checkpoint(work):
    arguments = ("--workers=2", "--ps=1", "--max_restarts=3", "--", *FLAGS, *ONLY_TRAIN)
    launcher = start(work, *arguments, "--model_dir=again", "--max_steps=6000")
    programs.wait_for_checkpoint(work / "again", 200, launcher)
    tasks = tasks_of(launcher)
    for name in ("worker 0", "ps 0"):
        os.kill(tasks[name], signal.SIGKILL)
    out, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 0, err
    assert "ps 0 ended with 137: starting it again" in err
    assert "test accuracy 0." in out


class Told:
    """A task whose process ends with these exit codes, one a look; None: it still runs."""

    def __init__(self, name, *exit_codes):
        self.name, self.exit_code, self.is_running = name, 0, True
        self.exit_codes, self.restarts = list(exit_codes), 0

    def poll(self, max_restarts):
        code = self.exit_codes.pop(0) if self.is_running and self.exit_codes else None
        if code is not None:
            self.exit_code = code
            self.is_running = self.exit_code >= 128 and self.restarts < max_restarts
            self.restarts += self.is_running
        return 0


def test_nobody_is_started_again_for_a_chief_that_has_gone_for_good(monkeypatch):
    monkeypatch.setattr(launch, "_POLL_SECS", 0)
    chief, worker = Told("chief 0", 137, 137), Told("worker 0", None, None, 138)
    assert launch._wait_for_all([chief, worker], max_restarts=1) == 137
    assert (chief.restarts, worker.restarts) == (1, 0)


def test_a_task_that_goes_on_without_its_chief_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(launch, "_POLL_SECS", 0)
    monkeypatch.setattr(launch, "_END_SECS", 0)
    ps = Told("ps 0")
    assert launch._wait_for_all([Told("chief 0", 138), ps], max_restarts=0) == 138
    assert ps.is_running  # For `run` to end.


def test_an_evaluator_is_started_again_when_the_chief_is_done(monkeypatch):
    monkeypatch.setattr(launch, "_POLL_SECS", 0)
    evaluator = Told("evaluator 0", None, 137, 0)
    assert launch._wait_for_all([Told("chief 0", 0), evaluator], max_restarts=1) == 0
    assert evaluator.restarts == 1


@pytest.mark.parametrize(("chief", "expected"), [(0, 137), (138, 138)])
def test_an_evaluator_that_is_killed_for_good_decides_after_the_chief(monkeypatch, chief, expected):
    monkeypatch.setattr(launch, "_POLL_SECS", 0)
    tasks = [Told("chief 0", None, chief), Told("worker 0", 137), Told("evaluator 0", 137)]
    assert launch._wait_for_all(tasks, max_restarts=0) == expected


def test_a_dataset_in_parts(tmp_path):
    flags = ("--dataset=sample", "--data_dir=data")
    launcher = start(tmp_path, "--command=prepare", "--parts=2", "--", *flags)
    out, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 0, err
    for part in ("part 1 | data: part 1 of 2: ", "part 2 | data: part 2 of 2: "):
        assert part in out
    assert "merge  |   train            3,600 examples    8 shards" in out
    content = (tmp_path / "data/manifest.json").read_bytes()
    # As one process writes it.
    assert hashlib.sha256(content).hexdigest().startswith("09060c977f7e33c6")
    assert not [name for name in os.listdir(tmp_path / "data") if name.startswith(".")]


@pytest.fixture
def parts_run(monkeypatch):
    """Has `run_parts` run tasks that end with these exit codes; returns their commands."""
    ran = []

    def run(codes: dict[str, list[int]], max_restarts: int = 0) -> tuple[int, list[list[str]]]:
        def task(name, command, environ, **_):
            ran.append(command)
            told = Told(name, *codes.get(name, [0]))
            told.signal = told.wait = lambda _: None
            return told

        monkeypatch.setattr(launch, "_Task", task)
        monkeypatch.setattr(launch, "_POLL_SECS", 0)
        given = ["--data_dir=a b", "--force"]
        return launch.run_parts(3, given, max_restarts=max_restarts), ran

    return run


def test_parts_then_the_merge(parts_run):
    code, ran = parts_run({})
    given = ["prepare", "--data_dir=a b", "--force"]
    assert code == 0 and ran == [
        *([*given, f"--part={number}/3"] for number in (1, 2, 3)),
        ["prepare", "--data_dir=a b", "--merge", "--force"],
    ]


@pytest.mark.parametrize(("codes", "restarts"), [([2], 9), ([137, 137], 1), ([143], 0)])
def test_without_a_part_there_is_no_merge(parts_run, capsys, codes, restarts):
    code, ran = parts_run({"part 2": codes}, restarts)
    assert code == codes[0] and not any("--merge" in command for command in ran)
    assert f"part 2 failed with {code}: ending the others" in capsys.readouterr().err


def test_a_part_that_is_killed_is_started_again(parts_run):
    assert parts_run({"part 2": [137, 0]}, 1)[0] == 0


def test_a_merge_that_fails_is_the_result(parts_run):
    assert parts_run({"merge": [2]})[0] == 2


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU])
def test_whatever_signal_ends_it_all_tasks_get(number):
    got = []
    task = types.SimpleNamespace(signal=got.append, wait=lambda until: None)
    with pytest.raises(signals.Interruption), launch._end_tasks_on_exit([task]):
        raise signals.Interruption(number.name, 129)
    assert got == [number]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_lines_of_tasks_are_coloured_where_that_is_wanted(environ, coloured, monkeypatch):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    task = launch._Task.__new__(launch._Task)
    task.name, task._color, task._width = "chief 0", 36, 8
    terminal = Terminal()
    task._print_lines(io.StringIO("one\n\x1b[2Jtwo\n"), terminal)
    prefix = "\x1b[36mchief 0  | \x1b[0m" if coloured else "chief 0  | "
    assert terminal.getvalue() == f"{prefix}one\n{prefix}\\x1b[2Jtwo\n"


def test_several_workers_do_not_each_train_alone(work):
    launcher = start(work, "--workers=2", "--", "--strategy=none", *FLAGS)
    _, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 2
    assert err.startswith("launch: --workers: found 2 with the train flag --strategy=none, expec")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_has_all_tasks_save_and_end(work, number):
    model_dir = f"stopped{number}"
    arguments = ("--workers=2", "--", *FLAGS, *ONLY_TRAIN, f"--model_dir={model_dir}")
    launcher = start(work, *arguments, "--max_steps=1000000")
    programs.wait_for_checkpoint(work / model_dir, 100, launcher)  # All train by now.
    tasks = tasks_of(launcher)
    launcher.send_signal(number)
    _, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert err.splitlines()[-1] == f"launch: {number.name}: stopped"
    assert f"{number.name}: step" in err
    assert not any(Path(f"/proc/{pid}").exists() for pid in tasks.values())


def test_tasks_end_when_their_launcher_is_killed(work):
    arguments = ("--workers=1", "--", *FLAGS, "--model_dir=orphan", "--max_steps=1000000")
    launcher = start(work, *arguments)
    programs.wait_for_checkpoint(work / "orphan", 0, launcher)
    (task,) = tasks_of(launcher).values()
    launcher.kill()
    launcher.communicate(timeout=TIMEOUT_SECS)
    programs.wait_until(lambda: not Path(f"/proc/{task}").exists(), timeout=60)
    assert json.loads((work / "orphan/status.json").read_text())["state"] == "preempted"


def test_a_task_that_fails_for_good_ends_all(work):
    (work / "broken").mkdir()
    (work / "broken/manifest.json").write_text("no manifest")
    flags = ["--model_dir=wrong", "--data_dir=broken"]
    launcher = start(work, "--workers=2", "--ps=1", "--", *flags)
    _, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 2
    assert "train: broken/manifest.json" in err
    assert "failed with 2: ending the others" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--workers=0"], "--workers: found 0, expected at least 1: the chief"),
        (["--parts=3"], "--parts: found 3, expected it with --command=prepare"),
        (["--command=prepare"], "--parts: found 0, expected 1 to 1000"),
        (
            ["--command=prepare", "--parts=2", "--ps=1"],
            "--ps: found it with --command=prepare, expected no such flag",
        ),
        (
            ["--command=prepare", "--parts=2", "--", "--dataset=sample"],
            "prepare flags, after the --: found no --data_dir=FOLDER, expected one",
        ),
        (["--ps=-1"], "--ps: found -1, expected at least 0"),
        (["--max_restarts=-1"], "--max_restarts: found -1, expected at least 0"),
        (["model"], "train flags, after the --: found 'model', expected only --flags"),
        (["--", "--max_steps=0"], "--max_steps: found 0, expected at least 1"),
        (["--", "--max_stepps=9"], "train flags, after the --: Unknown command line flag 'max_st"),
        (["--workers=3"], "found --batch_size=100, expected a multiple of the 3 replicas that"),
        (["--", "--task_index=1"], "found --task_index, which the engine sets; drop it"),
        (
            ["--max_steps=3"],
            "Unknown command line flag 'max_steps'; flags of train come after a --",
        ),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, arguments, line):
    launcher = start(tmp_path, *arguments)
    out, err = launcher.communicate(timeout=TIMEOUT_SECS)
    assert launcher.returncode == 2
    assert not out
    assert err.startswith("launch: ") and err.count("\n") == 1
    assert line in err
