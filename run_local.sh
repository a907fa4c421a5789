#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'END'
Sets up a virtual environment, prepares MNIST, trains on it and evaluates the result.

  ./run_local.sh                                          to tboard/mod1, with the default settings
  ./run_local.sh --max_steps=500 --model_dir=tboard/mod2  further flags are train's
  ./run_local.sh --dataset=fashion_mnist

The data are downloaded to data/mnist, once. Where MNIST cannot be downloaded, and neither --dataset
nor --data_dir asks for certain data, the 5,000 digits that come with the package are used instead,
and the model goes to tboard/sample. On the sample 1,000 steps are the default, not 5,000. Running
the same command again continues where it stopped.

All of train's flags:  ./run_local.sh --helpfull

  PYTHON=python3.12    Python to use in place of the newest supported one found, 3.10 to 3.13
  TENSORFLOW=2.19      TensorFlow to use in place of the newest, 2.15 to 2.21

The virtual environment is made in .venv, once, and again when setup.py or the part in C changes. The
status is 0 if all went well, 1 if the set-up failed, 2 for a wrong flag or data that cannot be used.
END
}

# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/venv.sh"

# 28 passes over the 3,600 training digits: more steps gain nothing.
readonly SAMPLE_STEPS=1000
# The status of prepare where no mirror gives the files of a dataset.
readonly NO_MIRROR=3

main() {
  local flag
  for flag in "$@"; do
    case $flag in
      -h | -help | --help)
        usage
        return
        ;;
    esac
  done
  choose_tensorflow "${TENSORFLOW:-}"
  choose_python "${PYTHON:-}"
  make_venv local ""
  if [[ " $* " == *" --helpfull "* ]]; then
    exec "$venv/bin/python" -m mnist_estimator.train --help
  fi
  read_flags "$@"
  prepare_data
  if [[ $dataset == sample && $given != *" max_steps "* ]]; then
    max_steps=$SAMPLE_STEPS
  fi
  say "training in $model_dir"
  run train "$@" "${data_flags[@]}" --model_dir="$model_dir" --max_steps="$max_steps"
  say "evaluating"
  run evaluate --model_dir="$model_dir" --data_dir="$data_dir" --split=test
  print_results
}

run() { # COMMAND FLAGS...
  local command=$1
  shift
  "$venv/bin/python" -m "mnist_estimator.$command" "$@"
}

# Checks train's flags, so that a wrong one is answered before anything is done, and sets
# `model_dir`, `max_steps`, `dataset`, `data_dir`, `given`, the names of the flags that are not left
# to their defaults, and `data_flags`, which prepare and train share. Where the flags ask for help,
# that is all that happens.
read_flags() { # FLAGS...
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # What is printed may be a help text, so the settings go to a file.
  "$venv/bin/python" "$root/scripts/train_settings.py" "$scratch/settings" "$@"
  [[ -s $scratch/settings ]] || exit 0
  local flag
  {
    IFS= read -r -d "" model_dir
    IFS= read -r -d "" max_steps
    IFS= read -r -d "" dataset
    IFS= read -r -d "" data_dir
    IFS= read -r -d "" given
    data_flags=()
    while IFS= read -r -d "" flag; do
      data_flags+=("$flag")
    done
  } <"$scratch/settings"
}

prepare_data() {
  local status=0
  # Whether a dataset that is there is the one asked for, train will judge.
  [[ ! -f $data_dir/manifest.json ]] || return 0
  say "preparing the data in $data_dir"
  run prepare "${data_flags[@]}" || status=$?
  if ((status == NO_MIRROR)) && [[ $given != *" dataset "* && $given != *" data_dir "* ]]; then
    # MNIST was not asked for, but taken by default.
    use_sample
  elif ((status == NO_MIRROR)); then
    exit 2
  elif ((status)); then
    exit "$status"
  fi
}

use_sample() {
  say "using the 5,000 digits that come with the package instead"
  dataset=sample
  data_dir=data/sample
  data_flags+=(--dataset="$dataset" --data_dir="$data_dir")
  # Not where a model of all of MNIST is, or will be.
  [[ $given == *" model_dir "* ]] || model_dir=tboard/sample
  [[ -f $data_dir/manifest.json ]] || run prepare "${data_flags[@]}"
}

print_results() {
  local tensorboard=$venv/bin/tensorboard
  printf 'The model, its settings (run.json) and its result (metrics.json) are in %s\n' \
    "${model_dir//[[:cntrl:]]/?}"
  printf 'To see the curves:  %q --logdir %q\n' "${tensorboard#"$PWD"/}" "$model_dir"
}

main "$@"
