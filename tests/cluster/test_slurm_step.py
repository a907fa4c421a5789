"""Where the tasks of a Slurm step are, and one line for each malformed variable, soon."""

from __future__ import annotations

import time

import pytest
from support.slurm import SLURM

from mnist_estimator import InputError
from mnist_estimator.cluster import slurm_step

HOSTS = ["n08", "n08", "n09", "n09", "n10", "n10", "login"]


def step(base_port=0, **changes):
    """The addresses of a step's tasks, by rank; a variable that is None is not set."""
    environ = {name: text for name, text in (SLURM | changes).items() if text is not None}
    assert slurm_step.is_step(environ)
    addresses, rank = slurm_step.tasks(environ, base_port=base_port)
    assert rank == int(environ["SLURM_PROCID"])
    return addresses


def hosts(addresses):
    return [address.rpartition(":")[0] for address in addresses]


def ports(addresses):
    return [int(address.rpartition(":")[2]) for address in addresses]


def test_slurm_tasks_are_where_srun_puts_them():
    assert hosts(step()) == HOSTS
    tasks = step(
        SLURM_DISTRIBUTION="cyclic", SLURM_NODEID="3", SLURM_LOCALID="0", SLURMD_NODENAME="login"
    )
    assert hosts(tasks) == ["n08", "n09", "n10", "login", "n08", "n09", "n10"]
    tasks = step(
        SLURM_DISTRIBUTION="plane", SLURM_DIST_PLANESIZE="2", SLURM_STEP_TASKS_PER_NODE="3,2(x2)",
        SLURM_STEP_NODELIST="n[08-10]",
    )  # fmt: skip
    assert hosts(tasks) == ["n08", "n08", "n09", "n09", "n10", "n10", "n08"]


def test_a_step_unlike_its_allocation():
    """srun --nodes=2 --ntasks=3 in an allocation of 20 tasks on 5 nodes: tensorflow#36094."""
    allocation = {
        "SLURM_JOB_NODELIST": "n[08-12]", "SLURM_NODELIST": "n[08-12]", "SLURM_NNODES": "5",
        "SLURM_TASKS_PER_NODE": "4(x5)", "SLURM_NTASKS": "20", "SLURM_NPROCS": "20",
    }  # fmt: skip
    found = step(
        **allocation, SLURM_STEP_NODELIST="n[09,11]", SLURM_STEP_TASKS_PER_NODE="2,1",
        SLURM_STEP_NUM_TASKS="3", SLURM_PROCID="2", SLURM_NODEID="1", SLURM_LOCALID="0",
        SLURMD_NODENAME="n11",
    )  # fmt: skip
    assert hosts(found) == ["n09", "n09", "n11"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("n1", ["n1"]),
        ("n[1-3,07],m5", ["n1", "n2", "n3", "n07", "m5"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("a[01-02]b[1-2]", ["a01b1", "a01b2", "a02b1", "a02b2"]),
        ("a[1-2]-ib,a3.site.org", ["a1-ib", "a2-ib", "a3.site.org"]),
        ("127.0.0.[2-4]", ["127.0.0.2", "127.0.0.3", "127.0.0.4"]),
    ],
)
def test_slurm_node_lists(nodes, expected):
    own = {"SLURM_NODEID": None, "SLURM_LOCALID": None, "SLURMD_NODENAME": None}
    counts = {"SLURM_STEP_NUM_TASKS": str(2 * len(expected)), "SLURM_PROCID": "0"}
    places = {"SLURM_STEP_TASKS_PER_NODE": f"2(x{len(expected)})", "SLURM_STEP_NODELIST": nodes}
    assert hosts(step(**own, **counts, **places)) == [node for node in expected for _ in range(2)]


def test_slurm_ports_are_one_a_task_below_the_ephemeral_ones():
    found = ports(step())
    assert found == list(range(found[0], found[0] + 7))
    assert ports(step(base_port=5000))[0] == 5000
    assert ports(step(base_port=5000, SLURM_STEP_RESV_PORTS="12000-12015"))[0] == 12000
    found = ports(step(SLURM_STEP_RESV_PORTS="12000-12003,12100,12102-12110"))
    assert found == [12000, 12001, 12002, 12003, 12100, 12102, 12103]
    # Too few of them.
    assert ports(step(base_port=5000, SLURM_STEP_RESV_PORTS="12000-12005"))[0] == 5000


def test_slurm_jobs_and_steps_whose_ids_are_close_do_not_clash():
    taken: dict[int, tuple[int, int]] = {}
    for job in range(4_294_900_000, 4_294_900_088):
        for number in range(4):
            environ = {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(number)}
            tasks = {"SLURM_STEP_NUM_TASKS": "64", "SLURM_STEP_TASKS_PER_NODE": "64"}
            own = {"SLURM_STEP_NODELIST": "n09", "SLURM_NODEID": "0", "SLURM_LOCALID": "3"}
            for port in ports(step(**environ, **tasks, **own)):
                assert 10000 <= port < 32768
                assert taken.setdefault(port, (job, number)) == (job, number)


@pytest.mark.parametrize("job", ["86", "87", "88"])
def test_a_large_slurm_step_stays_below_the_ephemeral_ports(job):
    large = {"SLURM_STEP_NUM_TASKS": "4000", "SLURM_STEP_TASKS_PER_NODE": "4000"}
    own = {"SLURM_STEP_NODELIST": "n09", "SLURM_NODEID": "0", "SLURM_LOCALID": "3"}
    found = ports(step(SLURM_JOB_ID=job, **large, **own))
    assert len(set(found)) == 4000
    assert min(found) >= 10000
    assert max(found) < 32768


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SLURM_STEP_NUM_TASKS", "0", "found '0', expected 1 to 65536 tasks"),
        ("SLURM_STEP_NUM_TASKS", "999999999", "expected 1 to 65536 tasks"),
        ("SLURM_STEP_NUM_TASKS", "seven", "found 'seven', expected a whole number"),
        ("SLURM_PROCID", "7", "found 7, expected 0 to 6"),
        ("SLURM_PROCID", "-1", "found '-1', expected a whole number"),
        ("SLURM_PROCID", "\u0663", "expected a whole number"),
        ("SLURM_STEP_ID", "zero", "found 'zero', expected a whole number"),
        ("SLURM_STEP_NODELIST", "n[1-", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n1-4]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n[[1-4]]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n[]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n[4-1]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n[-1]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n1,,n2", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n[1-999999999]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n[1-60000][1-60000][1-60000]", "expected 1 to 65536 nodes"),
        ("SLURM_STEP_NODELIST", ",".join(["n[1-60000]"] * 9000), "expected 1 to 65536 nodes"),
        ("SLURM_STEP_NODELIST", "n[" + ",".join(["1-60000"] * 9000) + "]", "expected 1 to"),
        ("SLURM_STEP_NODELIST", "n[\u0661-\u0663]", "expected 1 to 65536 nodes, as"),
        ("SLURM_STEP_NODELIST", "n08,n09,n 10,login", "found .n 10:.*expected host:port"),
        ("SLURM_STEP_TASKS_PER_NODE", "2(x3)", "expected 7 tasks on the 4 nodes of SLURM_STEP_NOD"),
        ("SLURM_STEP_TASKS_PER_NODE", "2(x4)", "expected 7 tasks on the 4 nodes of"),
        ("SLURM_STEP_TASKS_PER_NODE", "2(y3),1", "expected tasks of each node, as 2"),
        ("SLURM_STEP_TASKS_PER_NODE", "1(x99999)", "expected tasks of each node, as 2"),
        ("SLURM_DISTRIBUTION", "arbitrary", "expected block, cyclic or plane"),
        ("SLURM_NODEID", "2", "found '2', expected 1 for task 3"),
        ("SLURM_LOCALID", "0", "found '0', expected 1 for task 3"),
        ("SLURMD_NODENAME", "n10", "found 'n10', expected n09 for task 3"),
        ("SLURM_JOB_ID", None, "found '', expected a whole number"),
        ("SLURM_JOB_ID", "x", "found 'x', expected a whole number"),
        ("SLURM_STEP_RESV_PORTS", "many", "found 'many', expected ports, as 12000-12015"),
    ],
)
def test_a_malformed_slurm_variable_is_named_soon(variable, text, message):
    started = time.monotonic()
    with pytest.raises(InputError, match=f"^{variable}: .*{message}") as raised:
        step(**{variable: text})
    assert time.monotonic() - started < 2
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        ({}, "found '', expected a whole number"),
        ({"SLURM_DIST_PLANESIZE": "0"}, "found 0, expected at least 1"),
    ],
)
def test_a_plane_has_a_size(plane, message):
    with pytest.raises(InputError, match=f"SLURM_DIST_PLANESIZE: {message}"):
        step(SLURM_DISTRIBUTION="plane", **plane)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("0", True),
        ("4294967279", True),
        ("4294967280", False),  # 0xFFFFFFF0, from where on steps are special.
        ("4294967291", False),
        ("-5", False),
        ("", False),
    ],
)
def test_a_step_is_what_srun_starts(number, expected):
    environ = SLURM | {"SLURM_STEP_ID": number}
    assert slurm_step.is_step(environ) is expected
    del environ["SLURM_PROCID"]
    assert not slurm_step.is_step(environ)


@pytest.mark.parametrize(
    ("rank", "more", "expected"),
    [("0", {"SLURM_PTY_PORT": "1"}, True), ("1", {"SLURM_PTY_PORT": "1"}, False), ("0", {}, False)],
)
def test_the_shell_of_a_step_is_its_first_task_if_it_has_a_terminal(rank, more, expected):
    assert slurm_step.is_shell({"SLURM_PROCID": rank, **more}) is expected


def test_a_task_alone_needs_no_list_of_nodes():
    alone = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    assert slurm_step.tasks(alone, base_port=5000) == (("localhost:5000",), 0)
    alone["SLURMD_NODENAME"] = "n7"
    assert slurm_step.tasks(alone, base_port=5000) == (("n7:5000",), 0)


def test_the_names_that_variables_had_in_old_versions_do():
    old = {
        "SLURM_NPROCS": "2", "SLURM_PROCID": "1", "SLURM_NODELIST": "n[1-2]",
        "SLURM_TASKS_PER_NODE": "1(x2)", "SLURM_JOBID": "1", "SLURM_STEP_ID": "1",
    }  # fmt: skip
    # Job 1 has the ports from 10000 + 256 on, and its step 1 the second 64 of them.
    assert slurm_step.tasks(old, base_port=0) == (("n1:10320", "n2:10321"), 1)


def test_the_last_port_may_be_used_and_none_after_it():
    assert ports(step(base_port=65529))[-1] == 65535
    with pytest.raises(InputError, match="--base_port: found 65530, expected room for .* 7 tasks"):
        step(base_port=65530)
