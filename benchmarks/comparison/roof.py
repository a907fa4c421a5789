"""How fast a training step could be: by its products of matrices, and by the optimizer's memory."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison import machine, spreads
from benchmarks.comparison.parts import BFLOAT16, Record, Task, Value
from benchmarks.comparison.tables import spread_text

# Multiplications and additions of an image, forward and both ways back, but for the gradient of the
# pixels: 3 * 2 * (28*28*25*32 + 14*14*25*32*64 + 3136*1024 + 1024*10) - 2 * 28*28*25*32.
FLOP_AN_IMAGE = 82.1e6
# Adam reads a weight, its gradient and two moments, and writes all but the gradient: 7 float32.
BYTES_A_STEP = 7 * 4 * 3_274_634

_NAMES = ("roof, TensorFlow", "roof, PyTorch")
_AUTO = "this package"
_FRAMEWORKS = ("Keras", "PyTorch", "Flax", "plain Estimator")


def tasks(setting: str, *, seconds: float) -> list[Task]:
    """Measures the roof in TensorFlow and in PyTorch; the higher one counts.

    bfloat16 is left out where the processor has to imitate it: one product may take minutes.
    """
    types = "float32,bfloat16" if machine.has(BFLOAT16) else "float32"
    flags = (f"--seconds={seconds}", f"--types={types}")
    return [
        Task(_NAMES[0], setting, "tensorflow", "roof.py", flags, deadline=120),
        Task(_NAMES[1], setting, "torch", "torch_mnist.py", ("roof", *flags), deadline=120),
    ]


def is_contender(name: str) -> bool:
    """Whether a name is a contender's, and not that of the roof."""
    return name not in _NAMES


def seconds_a_step(batch: int, gflops: float, gigabytes: float) -> float:
    """The least time of a step on a machine of so many GFLOP/s and GB/s."""
    return batch * FLOP_AN_IMAGE / gflops / 1e9 + BYTES_A_STEP / gigabytes / 1e9


def markdown(records: Sequence[Record]) -> str:
    """The roof, the share of it that each contender reaches, and the best mode of each peer."""
    roofs = _roofs(records)
    if not roofs:
        return ""
    settings = list(dict.fromkeys(record["setting"] for record in records))
    shares = _shares_table(_shares(records, roofs), settings)
    return "\n\n".join(
        ["**Share of the roof, %, median**", _about(roofs), shares, _best(records, settings)]
    )


def _roofs(records: Sequence[Record]) -> dict[tuple[str, int], dict[str, float]]:
    """For each setting and round: GFLOP/s of each type, the best of all, and GB/s."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for record in records:
        if record["contender"] in _NAMES and "values" in record:
            roof = found.setdefault((record["setting"], record["round"]), {})
            for name, value in record["values"].items():
                roof[name] = max(value, roof.get(name, 0.0))
    return {key: roof for key, roof in found.items() if "memory" in roof}


def _about(roofs: dict[tuple[str, int], dict[str, float]]) -> str:
    parts = {
        name: spread_text(spreads.spread([roof[name] for roof in roofs.values() if name in roof]))
        for name in ("float32", "bfloat16", "memory")
    }
    bfloat16 = f" and {parts['bfloat16']} in bfloat16" if parts["bfloat16"] else ""
    return (
        f"Products of square matrices reach {parts['float32']} GFLOP/s in float32{bfloat16}, sums "
        f"of arrays as large as the weights {parts['memory']} GB/s. A step takes at least "
        f"{FLOP_AN_IMAGE / 1e6:.0f} MFLOP an image at the first rate, and the optimizer's "
        f"{BYTES_A_STEP / 1e6:.0f} MB at the second. The share is that time, measured anew in each "
        "round, by the time of the step."
    )


def _shares(
    records: Sequence[Record], roofs: dict[tuple[str, int], dict[str, float]]
) -> dict[str, dict[str, list[float]]]:
    """Percents of the roof: contender, setting, rounds."""
    shares: dict[str, dict[str, list[float]]] = {}
    for record in records:
        name, setting = record["contender"], record["setting"]
        roof = roofs.get((setting, record["round"]))
        if name in _NAMES or "values" not in record or not roof:
            continue
        batch = int(setting.split()[-1])
        gflops = roof["bfloat16" if _is_bfloat16(name) else "float32"]
        least = seconds_a_step(batch, gflops, roof["memory"])
        rate = record["values"]["images_per_second"]
        own = shares.setdefault(name, {}).setdefault(setting, [])
        own.append(100 * least * rate / batch)
    return shares


def _shares_table(shares: dict[str, dict[str, list[float]]], settings: Sequence[str]) -> str:
    lines = ["| | " + " | ".join(settings) + " |", "| --- |" + " ---: |" * len(settings)]
    for name, own in shares.items():
        cells = [spread_text(spreads.spread(own.get(setting, []))) for setting in settings]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _is_bfloat16(contender: str) -> bool:
    """`--precision=auto` is bfloat16 where the processor has it."""
    return "bfloat16" in contender or (contender == _AUTO and machine.has(BFLOAT16))


def _best(records: Sequence[Record], settings: Sequence[str]) -> str:
    """Times as fast as the best mode of each framework: of all modes, and of float32 alone."""
    lines = [
        "**Beside each peer's best mode** (any precision with this package at `auto`, and both in "
        "float32)",
        "| | best mode | ratio | best float32 mode | ratio of float32 |\n"
        "| --- | --- | ---: | --- | ---: |",
    ]
    for setting in settings:
        chosen = [r for r in records if r["setting"] == setting and is_contender(r["contender"])]
        for framework in _FRAMEWORKS:
            cells = [_against(chosen, _AUTO, framework, ("",))]
            cells.append(_against(chosen, f"{_AUTO}, float32", framework, ("bfloat16",)))
            if all(cells):
                lines[-1] += f"\n| {setting}: {framework} | {cells[0]} | {cells[1]} |"
    return "\n\n".join(lines)


def _against(records: Sequence[Record], ours: str, framework: str, without: tuple[str, ...]) -> str:
    value = Value("images_per_second", "", "")
    rows = [
        row
        for row in spreads.rows(records, value, ours)
        if row.contender.startswith(framework)
        and row.ratio
        and not any(word and word in row.contender for word in without)
    ]
    if not rows:
        return ""
    best = max(rows, key=lambda row: row.measured.middle if row.measured else 0.0)
    return f"{best.contender} | {spread_text(best.ratio)}"
