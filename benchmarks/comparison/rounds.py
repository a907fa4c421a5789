"""Measures: all contenders in turn, again and again (A B C A B C ...), what is not measured yet."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.comparison import children, environments, machine
from benchmarks.comparison.parts import Options, Part, Record, Task
from benchmarks.comparison.results import Results

Measure = Callable[[Task, Options], dict[str, Any]]

_GUESS_SECS = 30.0  # A measurement's time while nothing is known.


def measure(task: Task, options: Options) -> dict[str, Any]:
    """Runs a task's program once.

    Raises:
      children.ChildError, environments.EnvironmentMissingError: if there is no result.
    """
    python = environments.python(task.environment, options.work_dir)
    return children.run(
        python, task.program, task.arguments, deadline=task.deadline, options=options
    )


def versions(task: Task, options: Options) -> str:
    """What a result depends on: package, environment, processor, the program and what it gets.

    The package counts for its peers, too: they are compared with it round by round, so they are
    measured again when it changes.
    """
    programs = [(children.PEERS / name).read_bytes() for name in (task.program, "common.py")]
    given = (task.arguments, task.needs, options.threads, options.quick, children.SETTINGS)
    given += (machine.processor(),)
    found = hashlib.sha256(repr((programs, *given)).encode()).hexdigest()[:12]
    digest = environments.digest(task.environment)
    return f"{environments.package_digest()}-{digest}-{found}"


@dataclasses.dataclass(frozen=True)
class Planned:
    """A task in one round, and the key of its record."""

    task: Task
    key: Record


def plan(
    part: Part, options: Options, versions: Callable[[Task, Options], str] = versions
) -> list[Planned]:
    """All measurements of a part, in their order."""
    return [
        Planned(
            task,
            {
                "part": part.name,
                "setting": task.setting,
                "contender": task.contender,
                "round": number,
                "versions": versions(task, options),
            },
        )
        for number in range(part.rounds(options))
        for task in part.tasks(options, number)
    ]


def make_environments(planned: Sequence[Planned], options: Options) -> None:
    """Makes the environments of a plan, so that no measurement waits for one.

    One that cannot be made is tried again with each of its tasks, and is their failure.
    """
    for name in dict.fromkeys(entry.task.environment for entry in planned):
        try:
            environments.python(name, options.work_dir)
        except environments.EnvironmentMissingError as error:
            print(f"environment {name}: {error}", flush=True)


def run(
    planned: Sequence[Planned],
    options: Options,
    results: Results,
    *,
    measure: Measure = measure,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measures what is missing, in the order of the plan."""
    todo = [entry for entry in planned if not results.has(**entry.key)]
    say(f"{len(planned)} measurements, {len(planned) - len(todo)} of them are there already")
    for number, entry in enumerate(todo, 1):
        started = clock()
        outcome = _outcome(entry.task, options, measure)
        taken = {"seconds": round(clock() - started, 1), "date": time.strftime("%Y-%m-%d")}
        record = entry.key | taken | outcome
        results.add(record)
        left = sum(_seconds(results.records, later.key) for later in todo[number:])
        say(f"[{number}/{len(todo)}] {describe(record)}; {_duration(left)} left")


def describe(record: Record) -> str:
    """A line about a measurement."""
    what = "{part}, {setting}: {contender}, round {round}".format(**record)
    if "failed" in record:
        return f"{what}: failed: {record['failed']}"
    said = [
        f"{name} none" if value is None else f"{name} {value:,.5g}"
        for name, value in record["values"].items()
        if value is None or isinstance(value, int | float)
    ]
    return f"{what}: {', '.join(said)}"


def _outcome(task: Task, options: Options, measure: Measure) -> Record:
    if not machine.has(task.needs):
        return {"failed": f"this processor has no {task.needs}"}
    try:
        return {"values": measure(task, options)}
    except (children.ChildError, environments.EnvironmentMissingError) as error:
        return {"failed": str(error)}


def _seconds(records: Sequence[Record], entry: Record) -> float:
    """What a measurement will take: as before, or as others of its part did."""
    part = [record for record in records if record["part"] == entry["part"]]
    same = [
        record["seconds"]
        for record in part
        if (record["setting"], record["contender"]) == (entry["setting"], entry["contender"])
    ]
    known = same or [record["seconds"] for record in part]
    return statistics.mean(known) if known else _GUESS_SECS


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
