"""What a signal does: real ones, sent to this process or to one of the test's own."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest
import tensorflow as tf
from support import programs

from mnist_estimator.runtime import program, signals

NUMBERS = [
    (signal.SIGTERM, 143),
    (signal.SIGUSR1, 143),
    (signal.SIGUSR2, 143),
    (signal.SIGXCPU, 143),
    (signal.SIGINT, 130),
    (signal.SIGHUP, 129),
]


@pytest.fixture(autouse=True)
def handled():
    before = {number: signal.getsignal(number) for number, _ in NUMBERS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests may run under nohup.
    with signals.handled():
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_signal_raises_where_nothing_defers_it(number, code):
    with pytest.raises(signals.Interruption, match=number.name) as caught:
        signal.raise_signal(number)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_deferred_signal_is_noted_and_raises_at_the_end(number, code):
    with pytest.raises(signals.Interruption, match=number.name) as caught, signals.deferrable():
        signals.defer()
        assert not signals.noted()
        signal.raise_signal(number)
        assert signals.noted()
        reached = True
    assert reached
    assert caught.value.exit_code == code


def test_before_defer_a_signal_raises_inside_the_block():
    with pytest.raises(signals.Interruption), signals.deferrable():
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("went on")


def test_once_nothing_is_deferred_any_more_a_noted_signal_raises():
    signals.defer()
    signals.interrupt()
    signals.defer()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(signals.Interruption, match="SIGTERM"):
        signals.interrupt()


@pytest.mark.parametrize("restore", [True, False])
def test_a_program_that_goes_on_has_its_own_handlers_again(restore):
    def own(number, frame):
        raise AssertionError

    signal.signal(signal.SIGUSR1, own)
    with signals.handled(restore=restore):
        assert signal.getsignal(signal.SIGUSR1) != own
    assert signal.getsignal(signal.SIGUSR1) == (own if restore else signal.SIG_IGN)


def test_what_can_be_done_again_is_interrupted_within_a_deferred_block():
    with pytest.raises(signals.Interruption), signals.deferrable():
        signals.defer()
        with signals.interruptible():
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("went on")


def test_what_can_be_done_again_does_not_begin_after_a_signal():
    with pytest.raises(signals.Interruption), signals.deferrable():
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        with signals.interruptible():
            pytest.fail("began")


def test_an_interruption_that_was_swallowed_is_raised_again():
    with pytest.raises(signals.Interruption), signals.interruptible():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        reached = True
    assert reached


def test_an_error_in_the_block_is_not_replaced():
    with pytest.raises(KeyError), signals.deferrable():
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        raise KeyError


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (tf.nest.flatten, 1),
        (lambda value: tf.nest.flatten([value, 1]), 2),
        (lambda value: [] if tf.nest.is_nested(value) else [value], 1),
    ],
    ids=["flatten", "flatten_list", "is_nested"],
)
def test_a_signal_while_tensorflow_checks_a_type_is_raised_after_it(check, expected):
    class Leaf:
        pass

    class Signalling(collections.abc.Mapping):
        """Is asked whether a class is its subclass when something is checked for a Mapping."""

        @classmethod
        def __subclasshook__(cls, candidate):
            if candidate is Leaf:
                signal.raise_signal(signal.SIGTERM)
            return NotImplemented

    answers = []
    with pytest.raises(signals.Interruption, match="SIGTERM"):
        answers.append(len(check(Leaf())))
        threading.Event().wait(60)
    assert answers in ([expected], [])  # None if the signal is raised before it is appended.


def test_an_error_that_replaces_an_interruption_is_told_as_one():
    replacing = """
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException:
        raise KeyError("lost") from None
"""
    line = "-c: SIGTERM, then KeyError: 'lost': stopped\n"
    assert run_program(replacing) == (143, line)


def test_an_interruption_is_no_error_of_the_program():
    assert not issubclass(signals.Interruption, Exception)


def run_program(main: str, *numbers: int) -> tuple[int, str]:
    """Runs a program whose main is given, sends it signals when it says so; exit code, stderr."""
    source = f"""
import signal, sys, time
from mnist_estimator.runtime import program, signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)
def main(argv):
{main}
program.run(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for number in numbers:
            process.stdout.readline()
            process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


STUCK = "    with signals.deferrable():\n        signals.defer()\n"


@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_command_ends_with_the_code_and_one_line(number, code):
    waiting = "    print(flush=True)\n    sys.stdin.read()\n"
    assert run_program(waiting, number) == (code, f"-c: {number.name}: stopped\n")


def test_a_signal_that_does_not_interrupt_a_wait_is_heard_all_the_same():
    release, late = threading.Event(), []

    def send() -> None:
        programs.wait_until(lambda: release._cond._waiters, timeout=60, every=0.001)
        # Another thread runs the C handler, as when the signal comes just before the wait.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        if not release.wait(15):
            late.append(True)
            release.set()

    sender = threading.Thread(target=send, daemon=True)
    with pytest.raises(signals.Interruption, match="SIGTERM"):
        sender.start()
        release.wait(60)
    release.set()
    sender.join(60)
    assert not late


def test_a_second_signal_in_the_same_moment_does_not_interrupt_the_clean_up():
    cleaned = []
    with pytest.raises(signals.Interruption, match="SIGTERM"):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGUSR1)
            cleaned.append(True)
    assert cleaned and signals.noted()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_the_handlers_from_before_and_its_signals_are_its_own():
    """As those of multiprocessing, whose pools end them with SIGTERM."""
    told = os.pipe()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with signals.handled(restore=True), signals.deferrable():
        signals.defer()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                signal.alarm(60)
                assert signal.set_wakeup_fd(-1) == -1
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                os.write(told[1], b"!")
                while True:
                    signal.pause()
            os._exit(3)
        os.close(told[1])
        assert os.read(told[0], 1) == b"!"
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
        assert not signals.noted()
    os.close(told[0])


def test_a_second_signal_ends_a_stuck_program_at_once():
    # The thread that is told of the first one says so; two in a moment would count as one.
    main = STUCK + (
        "        print(flush=True)\n"
        "        while not signals.noted(): time.sleep(0.01)\n"
        f"        time.sleep({signals._SAME_SECS} + 0.1)\n"
        "        print(flush=True)\n"
        "        while True: time.sleep(1)\n"
    )
    code, stderr = run_program(main, signal.SIGTERM, signal.SIGINT)
    assert (code, stderr) == (130, "-c: SIGINT: a second signal, ended at once\n")


def test_the_end_of_processor_time_is_told_every_second_and_is_one_signal():
    main = STUCK + (
        "        print(flush=True)\n"
        "        while not signals.noted(): time.sleep(0.01)\n"
        f"        time.sleep({signals._SAME_SECS} + 0.1)\n"
        "        print(flush=True)\n"
        "        time.sleep(1)\n"
    )
    code, stderr = run_program(main, signal.SIGXCPU, signal.SIGXCPU)
    assert (code, stderr) == (143, "-c: SIGXCPU: stopped\n")


def test_under_nohup_the_end_of_the_terminal_is_nobodys_concern():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.handled():
        signal.raise_signal(signal.SIGHUP)
        assert not signals.noted()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTSTP])
def test_other_signals_do_what_they_always_do(number):
    assert signal.getsignal(number) == signal.SIG_DFL


def test_two_signals_in_a_moment_are_one():
    main = STUCK + "        print(flush=True)\n        print(flush=True)\n        time.sleep(1)\n"
    # Two numbers, as the kernel merges two of the same that wait.
    code, stderr = run_program(main, signal.SIGTERM, signal.SIGUSR1)
    assert code == 143
    assert stderr in ("-c: SIGTERM: stopped\n", "-c: SIGUSR1: stopped\n")


def test_a_program_stuck_for_good_ends_by_itself():
    main = (
        "    signals._STUCK_SECS = 0.2\n" + STUCK + "        print(flush=True)\n"
        "        while True: time.sleep(1)\n"
    )
    code, stderr = run_program(main, signal.SIGUSR1)
    assert code == 143
    assert stderr.startswith("-c: SIGUSR1: nothing answered for 0 s, ended without saving")


def test_a_program_that_is_saving_may_take_its_time():
    main = (
        "    signals._STUCK_SECS = 0.2\n" + STUCK + "        print(flush=True)\n"
        "        while not signals.noted(): time.sleep(0.01)\n"
        "        signals.acknowledge()\n"
        "        time.sleep(0.6)\n"
    )
    assert run_program(main, signal.SIGTERM) == (143, "-c: SIGTERM: stopped\n")


def test_a_signal_after_the_end_changes_nothing():
    source = f"""
import atexit, os, signal, sys
from mnist_estimator.runtime import program
atexit.register(lambda: os.kill(os.getpid(), {int(signal.SIGTERM)}))
program.run(lambda argv: 0)
"""
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_the_exit_codes_are_those_of_the_contract():
    assert (signals.EXIT_FAILED, signals.EXIT_INPUT) == (1, 2)
    assert (signals.EXIT_PREEMPTED, signals.EXIT_INTERRUPTED) == (143, 130)
    assert os.WEXITSTATUS(143 << 8) == 128 + signal.SIGTERM


def test_no_room_for_a_thread_is_one_line(monkeypatch, capsys):
    """As with too little memory, or too many processes."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(signals.threading.Thread, "start", start)
    guarded = program._exit_code_of(lambda argv: None, takes_arguments=False)
    assert guarded(["train"]) == signals.EXIT_FAILED
    line = capsys.readouterr().err
    assert "can't start new thread: out of memory, or at a limit" in line and line.count("\n") == 1
