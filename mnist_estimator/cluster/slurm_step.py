"""Finds the nodes and ports of the tasks of a Slurm job step.

They follow from the variables that srun sets in each task (its manual, OUTPUT ENVIRONMENT
VARIABLES). So scontrol is not needed, and every task computes the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mnist_estimator.cluster.fields import addresses, shown, whole, wrong

_NODES = re.compile(r"(?:[^,\[\]]|\[[^\[\]]+\])+(?:,(?:[^,\[\]]|\[[^\[\]]+\])+)*")
_MOST_TASKS = 65536

# The default ports of Slurm tasks. They are below those that Linux gives to outgoing connections
# (net.ipv4.ip_local_port_range: 32768-60999), any of which may be in use.
_FIRST_PORT, _LAST_PORT = 10000, 32767
_PORTS_A_STEP, _STEPS = 64, 4
_JOBS = (_LAST_PORT + 1 - _FIRST_PORT) // (_PORTS_A_STEP * _STEPS)
_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # The batch, extern and interactive steps: slurm.h.


def is_step(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process, and not a batch script without srun.

    A batch script also gets SLURM_PROCID=0 and the job's SLURM_NTASKS, but no step number
    (env_array_for_batch_job in Slurm's env.c). The shell of `salloc` may be a step with a special
    number.
    """
    step = environ.get("SLURM_STEP_ID", "")
    if "SLURM_PROCID" not in environ or not step or step.startswith("-"):
        return False
    return whole(step, "SLURM_STEP_ID") < _FIRST_SPECIAL_STEP


def is_shell(environ: Mapping[str, str]) -> bool:
    """Whether this is the task of `srun --pty` that has the terminal, which usually runs a shell.

    In an allocation of several tasks srun starts as many shells. The others have no input and end
    at once, but the variables still count them.
    """
    return "SLURM_PTY_PORT" in environ and environ.get("SLURM_PROCID") == "0"


def tasks(environ: Mapping[str, str], *, base_port: int) -> tuple[tuple[str, ...], int]:
    """Returns the "host:port" of each task of this step, by rank, and this task's rank.

    The task of rank n listens at the first port + n, so that ports differ even if several Slurm
    nodes are one machine.

    Raises:
      InputError: if a variable is malformed or contradicts another one.
    """
    field, text = _first_of(environ, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")
    count = whole(text, field)
    if not 0 < count <= _MOST_TASKS:
        raise wrong(field, text, f"1 to {_MOST_TASKS} tasks")
    rank = _number(environ, "SLURM_PROCID")
    if rank >= count:
        raise wrong("SLURM_PROCID", rank, f"0 to {count - 1}")
    field, nodes = _nodes(environ, count, rank)
    ports = _ports(environ, base_port, count)
    hosts = [f"{node}:{port}" for node, port in zip(nodes, ports, strict=True)]
    return addresses(hosts, field), rank


def _nodes(environ: Mapping[str, str], tasks: int, rank: int) -> tuple[str, list[str]]:
    """The variable that names the nodes, and the node of each task."""
    if tasks == 1:  # It trains alone and needs no address.
        return "SLURMD_NODENAME", [environ.get("SLURMD_NODENAME") or "localhost"]
    field, text = _first_of(environ, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    nodes = _expanded(text, field)
    counts_field, text = _first_of(environ, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")
    counts = _counts(text, counts_field)
    if len(counts) != len(nodes) or sum(counts) != tasks:
        expected = f"{tasks} tasks on the {len(nodes)} nodes of {field}"
        raise wrong(counts_field, text, expected)
    places = _places(counts, environ)
    place = places[rank]
    # Checks the computed place of this task, as those of the others cannot be checked.
    own = {
        "SLURM_NODEID": str(place),
        "SLURM_LOCALID": str(places[:rank].count(place)),
        "SLURMD_NODENAME": nodes[place],
    }
    for variable, expected in own.items():
        if environ.get(variable, expected) != expected:
            where = f"{expected} for task {rank}, from {counts_field}={shown(text)} and {field}"
            raise wrong(variable, environ[variable], where)
    return field, [nodes[place] for place in places]


def _expanded(text: str, field: str) -> list[str]:
    """Expands a Slurm hostlist such as "n[1-3,07],a[01-02]b[1-2]" to the names of nodes."""
    expected = f"1 to {_MOST_TASKS} nodes, as n[1-3,07],m5"
    if not _NODES.fullmatch(text):
        raise wrong(field, text, expected)
    nodes: list[str] = []
    for item in re.findall(r"(?:[^,\[\]]|\[[^\[\]]+\])+", text):
        names = [""]
        for part in re.findall(r"\[[^\[\]]+\]|[^\[\]]+", item):
            ends = _numbers(part[1:-1]) if part.startswith("[") else [part]
            if not ends or len(nodes) + len(names) * len(ends) > _MOST_TASKS:
                raise wrong(field, text, expected)
            names = [name + end for name in names for end in ends]
        nodes += names
    return nodes


def _numbers(text: str) -> list[str]:
    """Expands "1-3,07" and keeps leading zeros; empty if malformed or too many."""
    numbers: list[str] = []
    for item in text.split(","):
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item)
        if not found:
            return []
        first, last = int(found[1]), int(found[2] or found[1])
        if not 0 <= last - first < _MOST_TASKS - len(numbers):
            return []
        numbers += [f"{n:0{len(found[1])}}" for n in range(first, last + 1)]
    return numbers


def _counts(text: str, field: str) -> list[int]:
    """Expands "2(x3),1" to the number of tasks of each node."""
    counts: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"([0-9]{1,5})(?:\(x([0-9]{1,5})\))?", item)
        times = int(found[2] or 1) if found else 0
        if not found or len(counts) + times > _MOST_TASKS:
            raise wrong(field, text, "tasks of each node, as 2(x3),1")
        counts += [int(found[1])] * times
    return counts


def _places(counts: Sequence[int], environ: Mapping[str, str]) -> list[int]:
    """The node of each task, as a number, by the first part of srun's --distribution."""
    distribution = environ.get("SLURM_DISTRIBUTION", "")
    kind = re.split("[:,]", distribution)[0].lower()
    if kind in ("", "*", "block", "pack", "nopack"):
        return [node for node, count in enumerate(counts) for _ in range(count)]
    if kind not in ("cyclic", "plane"):
        raise wrong("SLURM_DISTRIBUTION", distribution, "block, cyclic or plane")
    size = _number(environ, "SLURM_DIST_PLANESIZE") if kind == "plane" else 1
    if not size:
        raise wrong("SLURM_DIST_PLANESIZE", size, "at least 1")
    places: list[int] = []
    left = list(enumerate(counts))
    while left:
        places += [node for node, count in left for _ in range(min(size, count))]
        left = [(node, count - size) for node, count in left if count > size]
    return places


def _ports(environ: Mapping[str, str], base_port: int, tasks: int) -> Sequence[int]:
    text = environ.get("SLURM_STEP_RESV_PORTS", "")
    reserved = _numbers(text.strip("[]"))
    if text and not reserved:
        raise wrong("SLURM_STEP_RESV_PORTS", text, "ports, as 12000-12015")
    if len(reserved) >= tasks:
        return [int(port) for port in reserved[:tasks]]
    if not base_port:
        # Each step gets 64 ports of its own, among jobs whose numbers differ by less than 88 (each
        # task of an array is a job) and steps of a job whose numbers differ by less than 4. A step
        # of more tasks also uses ports of the next steps and jobs. Two Slurm clusters on the same
        # machines may number jobs alike: there --base_port has to differ.
        job = _number(environ, "SLURM_JOB_ID", "SLURM_JOBID") % _JOBS
        step = _number(environ, "SLURM_STEP_ID") % _STEPS
        base_port = _FIRST_PORT + (job * _STEPS + step) * _PORTS_A_STEP
        base_port = max(_FIRST_PORT, min(base_port, _LAST_PORT + 1 - tasks))
    if base_port + tasks > 65536:
        raise wrong("--base_port", base_port, f"room for the ports of {tasks} tasks")
    return range(base_port, base_port + tasks)


def _number(environ: Mapping[str, str], *variables: str) -> int:
    variable, text = _first_of(environ, *variables)
    return whole(text, variable)


def _first_of(environ: Mapping[str, str], *variables: str) -> tuple[str, str]:
    variable = next((name for name in variables if environ.get(name)), variables[0])
    return variable, environ.get(variable, "")
