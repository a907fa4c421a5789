"""The file of raw results: what is added is found again, what a kill cut off is not."""

from benchmarks.comparison.results import Results

KEY = {"part": "training", "setting": "batch 100", "contender": "A", "round": 0, "versions": "v"}


def test_a_line_is_found_by_another_process(tmp_path):
    path = tmp_path / "work" / "results.jsonl"
    Results(path).add(KEY | {"values": {"x": 1.5}})
    again = Results(path)
    assert again.has(**KEY)
    assert again.latest() == [KEY | {"values": {"x": 1.5}}]


def test_each_field_of_the_key_counts(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add(KEY | {"values": {}})
    for name, other in [("round", 1), ("versions", "w"), ("contender", "B"), ("setting", "s")]:
        assert not results.has(**KEY | {name: other})


def test_a_line_that_was_cut_off_counts_for_nothing_and_spoils_no_other(tmp_path):
    path = tmp_path / "results.jsonl"
    Results(path).add(KEY | {"values": {"x": 1}})
    with open(path, "a") as file:
        file.write('{"part": "training", "setting": "batch 100", "contender": "B", "rou')
    results = Results(path)
    assert len(results.records) == 1
    results.add(KEY | {"round": 1, "values": {"x": 2}})
    assert [record["round"] for record in Results(path).records] == [0, 1]


def test_a_failure_is_tried_again_when_asked_and_the_later_line_counts(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add(KEY | {"failed": "out of memory"})
    assert results.has(**KEY)
    results.forget_failures()
    assert not results.has(**KEY)
    results.add(KEY | {"values": {"x": 3}})
    assert results.latest(contender="A") == [KEY | {"values": {"x": 3}}]
