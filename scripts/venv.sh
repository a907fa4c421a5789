# shellcheck shell=bash
# Sourced by run_local.sh and run_tests.sh: chooses a Python and makes virtual environments.
# Like them it keeps to bash 3.2, which is what macOS has.

program=$(basename "$0")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The scripts run this checkout, on this machine alone, whatever the caller's shell is set up for.
unset PYTHONPATH PYTHONHOME TF_CONFIG
# Where it is set, every start compiles TensorFlow anew: 15 s of processor time in place of 4.
unset PYTHONDONTWRITEBYTECODE

say() {
  local line="$program: $*"
  printf '%s\n' "${line//[[:cntrl:]]/?}" >&2 # of names, too, that would move a terminal's cursor
}

# Ends the script with one line; the status is 2, or the second argument.
fail() {
  say "$1"
  exit "${2:-2}"
}

# Sets `tensorflow`, what pip is asked for, and `newest_python`, the newest minor version of Python
# 3 that it has wheels for. VERSION is as 2.19 or 2.15.1; none means the newest.
choose_tensorflow() { # [VERSION]
  local version=${1:-}
  newest_python=13
  if [[ -z $version ]]; then
    tensorflow=tensorflow
    return
  fi
  [[ $version =~ ^2\.(1[5-9]|2[01])(\.[0-9]+)?$ ]] ||
    fail "TENSORFLOW=$version: expected a version from 2.15 to 2.21, as 2.19 or 2.15.1"
  case ${BASH_REMATCH[1]} in
    15) newest_python=11 ;;
    16 | 17 | 18 | 19) newest_python=12 ;;
  esac
  [[ -n ${BASH_REMATCH[2]} ]] || version+=".*"
  tensorflow="tensorflow==$version"
}

# Sets `python` to the command given, or to the newest Python found that suits the chosen
# TensorFlow, and `python_version` to its version, as 3.13.
choose_python() { # [COMMAND]
  local problem wanted="Python 3.10 to 3.$newest_python"
  [[ $tensorflow == tensorflow ]] || wanted+=" for TensorFlow ${tensorflow#*==}"
  if [[ -n ${1:-} ]]; then
    python=$(find_command "$1")
    problem=$(python_problem "$python")
    [[ -z $problem ]] || fail "PYTHON=$1 $problem; expected $wanted"
  else
    find_python || fail "found no $wanted${near_miss:+ ($near_miss)}; install one, or name it: PYTHON="
  fi
  python_version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
}

# Sets `python` to the newest Python that will do; else fails, with `near_miss` why the last one
# looked at will not.
find_python() {
  local minor name problem names=""
  near_miss=""
  for ((minor = newest_python; minor >= 10; minor--)); do
    names+=" python3.$minor"
  done
  for name in $names python3 python; do
    python=$(find_command "$name")
    problem=$(python_problem "$python")
    [[ -n $problem ]] || return 0
    [[ $problem == "is no command" ]] || near_miss="$python $problem"
  done
  return 1
}

# Prints COMMAND itself if it runs. pyenv puts commands on the PATH that fail unless their version
# is the active one; then prints the path of the real one.
find_command() { # COMMAND
  local candidate pyenv found=$1
  if ! "$1" -c "" </dev/null >/dev/null 2>&1; then
    pyenv=$(pyenv root 2>/dev/null) || pyenv=${PYENV_ROOT:-${HOME:-}/.pyenv}
    for candidate in "$pyenv"/versions/*/bin/"$1"; do
      [[ ! -x $candidate ]] || found=$candidate
    done
  fi
  echo "$found"
}

# Prints what keeps COMMAND from being used; nothing if it will do.
python_problem() { # COMMAND
  local answer name major minor modules
  if ! command -v "$1" >/dev/null; then
    echo "is no command"
    return
  fi
  answer=$("$1" -c '
import sys
try:
    import ensurepip, venv
    modules = "whole"
except ImportError:
    modules = "bare"
print("Python %d %d %s" % (sys.version_info[0], sys.version_info[1], modules))
' </dev/null 2>/dev/null) || true
  read -r name major minor modules <<<"$answer"
  if [[ $name != Python || ! $minor =~ ^[0-9]+$ ]]; then
    echo "does not run as a Python"
  elif ((major != 3 || minor < 10 || minor > newest_python)); then
    echo "is Python $major.$minor"
  elif [[ $modules != whole ]]; then
    echo "has no venv module (Debian and Ubuntu have it in python$major.$minor-venv)"
  fi
}

# Sets `venv` to a virtual environment of the chosen Python with this checkout and REQUIREMENTs
# installed. It is made once, and again whenever setup.py, the part in C or the REQUIREMENTs change.
make_venv() { # NAME EXTRAS [REQUIREMENT...]
  local digest log name=$1-$python_version extras=$2
  shift 2
  [[ $tensorflow == tensorflow ]] || name+=-tf${tensorflow#tensorflow==}
  name=${name%.\*}
  venv=$root/.venv/$name
  log=$venv.log
  digest=$(venv_digest "$extras" "$tensorflow" "$@")
  mkdir -p "$root/.venv"
  exec 9>"$venv.lock"
  lock_fd_9
  # Written last, so it is there only if everything before it succeeded.
  if [[ $(cat "$venv/made_from" 2>/dev/null) != "$digest" ]] || ! "$venv/bin/python" -c ""; then
    say "setting up .venv/$name (a few minutes, once; details in .venv/$name.log)"
    rm -f "$venv/made_from" # first: what follows may be interrupted at any file
    rm -rf "$venv"
    install "$extras" "$tensorflow" "$@" >"$log" 2>&1 || fail "$(install_problem "$log")" 1
    echo "$digest" >"$venv/made_from"
  fi
  exec 9>&-
}

install() { # EXTRAS REQUIREMENT...
  local extras=$1
  shift
  # What is imported is compiled then; most modules never are, and to compile all takes a minute.
  "$python" -m venv "$venv" &&
    "$venv/bin/python" -m pip install --no-compile --editable "$root$extras" "$@"
}

# The checkout's place counts too: a virtual environment does not survive being moved or copied.
venv_digest() { # REQUIREMENT...
  "$python" -c '
import hashlib, sys
parts = repr((sys.version, sys.executable, sys.argv[1:])).encode()
for path in "setup.py", "mnist_estimator/storage/_shim.c":
    with open(sys.argv[1] + "/" + path, "rb") as file:
        parts += file.read()
print(hashlib.sha256(parts).hexdigest())
' "$root" "$@"
}

# Waits until no other process sets up the same environment. The lock belongs to the open file, so
# it outlives the Python that takes it, and ends with this script and what it has started. (macOS
# has no flock command.)
lock_fd_9() {
  "$python" -c '
import fcntl, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(sys.argv[1] + ": waiting for another set-up to end", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
' "$program"
}

install_problem() { # LOG
  local unreachable='NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError'
  unreachable+='|ProxyError|SSLError|MaxRetryError|Connection refused|Network is unreachable'
  if grep -qE "$unreachable" "$1"; then
    echo "pip could not reach the package registry; its messages are in $1"
  else
    echo "installing failed: $(grep -iE '^ *error' "$1" | tail -1); the rest is in $1"
  fi
}
