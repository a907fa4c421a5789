"""What holds for the package as a whole: which module may import which, the commands, the wheel."""

import ast
import email
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import mnist_estimator
from mnist_estimator import __main__ as overview

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mnist_estimator"

# Each may import those before it.
MODULES = (
    "__init__",
    "streams",
    "progress",
    "signals",
    "local_files",
    "program",
    "idx",
    "example_arrays",
    "idx_examples",
    "datasets",
    "splits",
    "statistics",
    "fields",
    "json_files",
    "slurm_step",
    "environments",
    "cluster",
    "background",
    "ports",
    "hello",
    "peers",
    "settings",
    "config",
    "passed_flags",
    "jobs",
    "engine_kubernetes",
    "engine_ray",
    "engine_sagemaker",
    "engine_slurm",
    "engine_vertex",
    "scores",
    "picture_files",
    "page",
    "plots",
    "estimator_training",
    "compat",
    "decoding",
    "digits",
    "pictures",
    "files",
    "records",
    "folder_contents",
    "doubts",
    "events",
    "workspace",
    "csv_text",
    "csv_columns",
    "csv_labels",
    "csv_source",
    "folder_source",
    "idx_folder",
    "idx_source",
    "npz_source",
    "writer",
    "transposed",
    "sources",
    "lock",
    "checkpoints",
    "status",
    "inputs",
    "own_modules",
    "networks",
    "own_networks",
    "model_fn",
    "summaries",
    "hooks",
    "stopping",
    "evaluations",
    "estimators",
    "run_data",
    "run_record",
    "runs",
    "tables",
    "serving",
    "warmup",
    "exports",
    "tflite",
    "predictors",
    "endings",
    "parameter_server",
    "evaluating",
    "training",
    "curves",
    "panels",
    "explain",
)
# Each may import all of the above, and none of these.
COMMANDS = ("__main__", "prepare", "train", "evaluate", "predict", "export", "report")
COMMANDS += ("launch", "submit", "sample.make_sample")

# What these import beside the standard library, and one another.
LIGHT = {
    "__init__": set(),
    "__main__": set(),
    "streams": set(),
    "progress": set(),
    "signals": set(),
    "local_files": set(),
    "program": {"absl"},
    "datasets": set(),
    "fields": set(),
    "json_files": set(),
    "slurm_step": set(),
    "environments": set(),
    "cluster": set(),
    "background": set(),
    "ports": set(),
    "hello": set(),
    "peers": set(),
    "explain": set(),
    "idx": {"numpy"},
    "example_arrays": {"numpy"},
    "idx_examples": {"numpy"},
    "splits": {"numpy"},
    "statistics": {"numpy"},
    "settings": {"absl"},
    "config": {"absl"},
    "passed_flags": {"absl"},
    "jobs": set(),
    "engine_kubernetes": set(),
    "engine_ray": set(),
    "engine_sagemaker": set(),
    "engine_slurm": set(),
    "engine_vertex": set(),
    "scores": {"numpy"},
    "page": set(),
    "picture_files": set(),
    "own_modules": set(),
}
# The only ones that know TensorFlow's names of its parts.
DOORS = ("compat", "estimator_training")


def module_names() -> list[str]:
    paths = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    return sorted(".".join(path.parts) for path in paths if path.parts != ("sample", "__init__"))


@functools.cache
def tree(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: str) -> set[str]:
    """Full names of what a module imports, wherever in it; names that are no modules included."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imports_of_ours(module: str) -> set[str]:
    found = set()
    for name in imports(module):
        if name.split(".")[0] == "mnist_estimator":
            inner = name.removeprefix("mnist_estimator").strip(".")
            known = [m for m in (*MODULES, *COMMANDS) if inner == m or inner.startswith(f"{m}.")]
            found.update(known or ["__init__"])
    return found - {module}


def imports_of_others(module: str) -> set[str]:
    roots = {name.split(".")[0] for name in imports(module)}
    return roots - set(sys.stdlib_module_names) - {"mnist_estimator"}


@pytest.mark.parametrize("module", module_names())
def test_every_module_has_its_place(module):
    assert module in (*MODULES, *COMMANDS), "give it a place in the order of this test"


@pytest.mark.parametrize("module", [*MODULES, *COMMANDS])
def test_imports_go_one_way(module):
    allowed = MODULES[: MODULES.index(module)] if module in MODULES else MODULES
    assert imports_of_ours(module) <= set(allowed)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_need_little(module):
    assert imports_of_others(module) <= LIGHT[module]
    assert imports_of_ours(module) <= set(LIGHT)


@pytest.mark.parametrize("module", [m for m in (*MODULES, *COMMANDS) if m not in DOORS])
def test_only_the_doors_know_tensorflow(module):
    assert not imports_of_others(module) & {"tensorflow", "tensorflow_estimator"}
    attributes = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)]
    assert not [node for node in attributes if ast.unparse(node).startswith("tf.compat.")]


@pytest.mark.smoke
def test_commands_start_without_tensorflow():
    """So that --help and wrong flags are answered at once."""
    modules = [f"mnist_estimator.{name}" for name in ("cluster", *overview.COMMANDS)]
    found = f"import sys, {', '.join(modules)}; print('tensorflow' in sys.modules)"
    assert python("-c", found).stdout == "False\n"


@pytest.mark.smoke
def test_commands_are_listed_a_line_each():
    done = python("-m", "mnist_estimator")
    assert done.returncode == 0
    lines = done.stdout.splitlines()[1:]
    assert [line.split()[2] for line in lines] == [
        f"mnist_estimator.{name}" for name in overview.COMMANDS
    ]
    assert all(len(line.split()) > 5 and line.endswith(".") for line in lines)


def test_the_list_is_of_all_commands():
    runs = [name for name in module_names() if "." not in name and name != "__main__"]
    commands = {name for name in runs if "__name__ == '__main__'" in ast.unparse(tree(name))}
    assert commands == set(overview.COMMANDS)


@pytest.mark.parametrize("argument", ["foo", "train", "--max_steps=1"])
def test_an_argument_is_answered_with_how_to_call(argument):
    done = python("-m", "mnist_estimator", argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert argument in done.stderr and "python -m mnist_estimator." in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """A wheel and a source distribution, made from a copy so that the checkout stays clean."""
    pytest.importorskip("setuptools", minversion="70.1")
    copy = tmp_path_factory.mktemp("build") / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "data", "tboard", "*.egg-info"))
    build = "import sys, setuptools.build_meta as b; print(getattr(b, sys.argv[1])('dist'))"
    files = {}
    for kind in ("wheel", "sdist"):
        done = python("-c", build, f"build_{kind}", cwd=copy)
        assert done.returncode == 0, done.stderr
        files[kind] = copy / "dist" / done.stdout.splitlines()[-1]
    return files


def test_the_wheel_holds_the_package_and_the_sample(built):
    names = zipfile.ZipFile(built["wheel"]).namelist()
    ours = {name for name in names if ".dist-info/" not in name}
    patterns = ("*.py", "*.gz", "README.md", "templates/*.*")
    wanted = [path for pattern in patterns for path in PACKAGE.rglob(pattern)]
    assert ours == {str(path.relative_to(ROOT)) for path in wanted}
    assert len([name for name in ours if name.endswith(".gz")]) == 4
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_source_distribution_can_be_built_and_tested(built):
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"setup.py", "pyproject.toml", "LICENSE", "run_tests.sh", "scripts/venv.sh"}
    wanted |= {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.gz")}
    wanted |= {str(path.relative_to(ROOT)) for path in PACKAGE.glob("templates/*.*")}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("*.py")}
    assert wanted <= names


def test_the_metadata_say_what_is_needed(built):
    wheel = zipfile.ZipFile(built["wheel"])
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Name"] in ("mnist_estimator", "mnist-estimator")
    assert metadata["Version"] == mnist_estimator.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert set(metadata.get_all("Provides-Extra")) == {"docs", "engines", "keras", "report", "test"}
    needs = metadata.get_all("Requires-Dist")
    assert "tensorflow<2.22,>=2.15" in needs
    assert "tensorflow-estimator==2.15.0" in needs


def python(*arguments: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
