#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'END'
Sets up what the tests need and runs them.

  ./run_tests.sh                 all: ruff, mypy, the documentation, the tests on the newest
                                 TensorFlow, and those marked smoke on TensorFlow 2.15.1, the
                                 oldest supported
  ./run_tests.sh --quick         only the tests on the newest TensorFlow that start no program and
                                 train nothing; more ARGUMENTS for pytest can follow
  ./run_tests.sh ARGUMENTS       only the tests on the newest TensorFlow, ARGUMENTS for pytest:
                                 ./run_tests.sh -k idx, ./run_tests.sh tests/test_records.py -x

  PYTHON=python3.12              Python to use in place of the newest supported one found
  TENSORFLOW=2.19                TensorFlow to use in place of the newest, 2.15 to 2.21; with 2.15
                                 all tests run there, and the smoke tests not once more
  CI=true                        fail, not only say so, if no Python for TensorFlow 2.15.1 is found

The virtual environments are made in .venv, once, and again when setup.py or the part in C changes.
The status is 0 if all passed, 1 if something failed, 2 if the script was called wrongly.
END
}

cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/venv.sh
source scripts/venv.sh

readonly OLDEST=2.15.1
# Two processes, each with the files of tests in the order that conftest.py gives them.
readonly two=(--numprocesses=2 --dist=loadfile --no-loadscope-reorder)
results=()
failed=0

main() {
  case ${1:-} in
    -h | --help)
      usage
      return
      ;;
  esac
  # pytest takes an interrupt for itself; the stages after it shall not run either.
  trap 'exit 130' INT
  choose_tensorflow "${TENSORFLOW:-}"
  choose_python "${PYTHON:-}"
  make_venv tests "[test,keras,report,engines,docs$(extra_of_the_newest)]"
  if [[ ${1:-} == --quick ]]; then
    run_pytest "${two[@]}" -r fE "$@" || failed=1
  elif (($#)); then
    run_pytest "$@" || failed=1
  else
    test_all
    printf '%s\n' "${results[@]}"
  fi
  exit "$failed"
}

test_all() {
  local newest=$venv oldest=""
  stage "ruff check" "$venv/bin/python" -m ruff check
  stage "ruff format" "$venv/bin/python" -m ruff format --check
  stage "mypy" "$venv/bin/python" -m mypy
  stage "the documentation" \
    env NO_MKDOCS_2_WARNING=1 "$venv/bin/python" -m mkdocs build --strict --quiet --site-dir .venv/site
  if [[ $tensorflow != tensorflow==2.15* ]]; then
    make_oldest
    oldest=$venv venv=$newest
  fi
  # Models that one of the two exports are served by the other as well.
  export OTHER_PYTHON=${oldest:-$newest}/bin/python
  stage "the tests on $(versions)" run_pytest "${two[@]}" --durations=10
  if [[ -n $oldest ]]; then
    venv=$oldest OTHER_PYTHON=$newest/bin/python
    stage "the smoke tests on $(versions)" run_pytest "${two[@]}" -m smoke
  fi
}

# KServe and TensorFlow agree on protobuf from TensorFlow 2.20 on.
extra_of_the_newest() {
  [[ $tensorflow != tensorflow ]] || echo ",serve"
}

# Sets `venv` to a virtual environment with the oldest TensorFlow; to nothing if no Python has it.
make_oldest() {
  venv=""
  choose_tensorflow "$OLDEST"
  if find_python; then
    choose_python "$python"
    make_venv tests "[test,report]"
  elif [[ ${CI:-} == true ]]; then
    failed=1
    results+=("FAILED: the smoke tests on TensorFlow $OLDEST: found no Python 3.10 or 3.11")
  else
    results+=("not run: the smoke tests on TensorFlow $OLDEST: found no Python 3.10 or 3.11")
  fi
}

stage() { # NAME COMMAND...
  local name=$1
  shift
  say "$name"
  if "$@"; then
    results+=("passed: $name")
  else
    failed=1
    results+=("FAILED: $name")
  fi
}

run_pytest() { # ARGUMENTS...
  local status=0
  "$venv/bin/python" -m pytest "$@" || status=$?
  # Nothing selected proves nothing.
  ((status != 5)) || say "no test was selected"
  return "$status"
}

versions() {
  "$venv/bin/python" -c '
import importlib.metadata, platform
print("TensorFlow", importlib.metadata.version("tensorflow") + ", Python", platform.python_version())'
}

main "$@"
