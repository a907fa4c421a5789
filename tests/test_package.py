"""What holds for the package as a whole: which module may import which, the commands, the wheel."""

import ast
import email
import functools
import graphlib
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

# Packages, and modules beside them. Each may import those before it.
ORDER = (
    "__init__",
    "storage",
    "compat",
    "runtime",
    "pictures",
    "data",
    "optimizers",
    "config",
    "prepare_config",
    "cluster",
    "engines",
    "draws",
    "randomness",
    "augmentation",
    "weight_updates",
    "networks",
    "own_networks",
    "predictions",
    "runs",
    "sweeps",
    "model_fn",
    "estimators",
    "scoring",
    "serving",
    "training",
    "hooks",
    "reporting",
)
# Each may import all of the above, and none of these.
COMMANDS = ("__main__", "prepare", "train", "evaluate", "predict", "export", "report", "replay")
COMMANDS += ("sweep", "launch", "submit", "sample", "serve")

# What needs no TensorFlow, so that --help and a wrong flag are answered at once. `runtime.files`
# and some modules of `data` need it, and are imported by none of these before a command works.
LIGHT = ("cluster", "engines", "config", "prepare_config", *COMMANDS)
TENSORFLOW = {f"mnist_estimator.compat.{name}" for name in ("tf", "v1", "estimator")}


@functools.cache
def module_names() -> list[str]:
    """Every module of the package, as "data.idx"; a package's own as its name."""
    paths = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def room(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def tree(module: str) -> ast.Module:
    place = PACKAGE.joinpath(*module.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def type_checking(module: ast.Module) -> set[ast.AST]:
    """What lies below `if TYPE_CHECKING:`, and is imported by no program."""
    blocks = [node for node in module.body if isinstance(node, ast.If)]
    blocks = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    return {node for block in blocks for node in ast.walk(block)}


def functions(module: ast.Module) -> set[ast.AST]:
    found = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    return {node for function in found for node in ast.walk(function)}


def imports(module: str, *, at_once: bool = False) -> set[str]:
    """Full names of what a module imports, names that are no modules included.

    Args:
      at_once: leave out what only a call of a function imports.
    """
    names, left_out = set(), type_checking(tree(module))
    if at_once:
        left_out |= functions(tree(module))
    for node in ast.walk(tree(module)):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imports_of_ours(module: str, *, at_once: bool = False) -> set[str]:
    found = set()
    for name in imports(module, at_once=at_once):
        if name.split(".")[0] == "mnist_estimator":
            inner = name.removeprefix("mnist_estimator").strip(".")
            while inner and inner not in module_names():
                inner = inner.rpartition(".")[0]
            found.add(inner or "__init__")
    return found - {module}


def imports_of_others(module: str, *, at_once: bool = False) -> set[str]:
    roots = {name.split(".")[0] for name in imports(module, at_once=at_once)}
    return roots - set(sys.stdlib_module_names) - {"mnist_estimator"}


@pytest.mark.parametrize("module", module_names())
def test_imports_go_one_way(module):
    assert room(module) in (*ORDER, *COMMANDS), "give it a place in the order of this test"
    others = {room(name) for name in imports_of_ours(module)} - {room(module)}
    allowed = ORDER[: ORDER.index(room(module))] if room(module) in ORDER else ORDER
    assert others <= set(allowed)


def test_imports_go_one_way_inside_each_package():
    graph = {
        module: {name for name in imports_of_ours(module) if room(name) == room(module)}
        for module in module_names()
    }
    # Raises CycleError, which names the modules that import one another.
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", [name for name in ORDER if (PACKAGE / name).is_dir()])
def test_a_package_says_what_it_is_for_and_imports_nothing(package):
    assert ast.get_docstring(tree(package))
    if package not in ("compat", "storage"):  # They are themselves what users import.
        assert len(tree(package).body) == 1


@pytest.mark.parametrize("module", [m for m in module_names() if m == "compat" or room(m) in LIGHT])
def test_light_modules_need_no_tensorflow(module):
    for name in reached(module):
        assert imports_of_others(name, at_once=True) <= {"absl", "numpy"}, name
        assert not imports(name, at_once=True) & TENSORFLOW, f"{name} imports TensorFlow"


def reached(module: str) -> set[str]:
    """A module and all of ours that its import imports."""
    found, new = set(), {module}
    while new:
        found |= new
        new = {name for each in new for name in imports_of_ours(each, at_once=True)} - found
    return found


KNOW_TENSORFLOW = ("compat", "storage")


@pytest.mark.parametrize("module", [m for m in module_names() if room(m) not in KNOW_TENSORFLOW])
def test_only_compat_and_storage_know_tensorflow(module):
    assert not imports_of_others(module) & {"tensorflow", "tensorflow_estimator"}
    attributes = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)]
    assert not [node for node in attributes if ast.unparse(node).startswith("tf.compat.")]


@pytest.mark.smoke
def test_commands_start_without_tensorflow():
    """So that --help and wrong flags are answered at once."""
    modules = [f"mnist_estimator.{name}" for name in ("cluster.roles", *overview.COMMANDS)]
    found = f"import sys, {', '.join(modules)}; print('tensorflow' in sys.modules)"
    assert python("-c", found).stdout == "False\n"


@pytest.mark.smoke
def test_commands_are_listed_a_line_each():
    done = python("-m", "mnist_estimator")
    assert done.returncode == 0
    lines = done.stdout.splitlines()[1:]
    assert [line.split()[2] for line in lines] == [
        f"mnist_estimator.{name}" for name in (*overview.COMMANDS, "compat")
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
    copy.mkdir()
    folders = ("mnist_estimator", "tests", "docs", "recipes", "scripts")
    for name in folders:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in filter(pathlib.Path.is_file, ROOT.iterdir()):
        shutil.copy(path, copy)
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
    # Where there is no compiler, there is no part in C.
    ours -= {name for name in names if name.startswith("mnist_estimator/storage/_shim.")}
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
    wanted |= {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("templates/*.*")}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    assert wanted <= names


def test_the_metadata_say_what_is_needed(built):
    wheel = zipfile.ZipFile(built["wheel"])
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Name"] in ("mnist_estimator", "mnist-estimator")
    assert metadata["Version"] == mnist_estimator.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    extras = {"docs", "engines", "keras", "onnx", "parquet", "report", "serve", "storage", "sweep"}
    extras.add("test")
    assert set(metadata.get_all("Provides-Extra")) == extras
    needs = metadata.get_all("Requires-Dist")
    assert "tensorflow<2.22,>=2.15" in needs
    assert "tensorflow-estimator==2.15.0" in needs


def python(*arguments: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
