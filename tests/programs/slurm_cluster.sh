#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'END'
A Slurm cluster of three nodes on this machine, for tests and for trying things out.

  tests/slurm_cluster.sh start DIR   starts munged, slurmctld and three slurmd
  source DIR/env                     now sbatch, squeue and the others talk to this cluster
  tests/slurm_cluster.sh stop DIR    cancels its jobs, ends it and removes what it wrote in DIR

Keys, sockets, state and logs are all in DIR; a Slurm that the machine may have is left alone.
Needs Debian's packages slurm-wlm and munge. The status is 0 if the cluster is as asked for, also if
it was before; 3 if Slurm is not installed, 2 if the script was called wrongly, else 1.
END
}

# Addresses as names: the tasks find each other with no entry in /etc/hosts.
readonly NODES="127.0.0.[2-4]"
readonly START_SECS=40
readonly STOP_SECS=40 # More than KillWait.

# Also where root's PATH does not have them.
PATH=$PATH:/usr/sbin:/sbin

main() {
  case $#:${1:-} in
    2:start | 2:stop) ;;
    1:-h | 1:--help)
      usage
      return
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  dir=$(realpath -m -- "$2")
  export SLURM_CONF=$dir/slurm.conf
  "$1"
}

start() {
  local tool node
  for tool in munged slurmctld slurmd sbatch; do
    command -v "$tool" >/dev/null || die "$tool is not here; install slurm-wlm and munge" 3
  done
  if [[ -f $dir/pids ]]; then
    ! is_idle || return 0
    stop
  fi
  mkdir -p "$dir"/{log,state,spool}
  : >"$dir/pids"
  trap 'show_logs; stop' EXIT
  configure
  run_daemon munged --foreground --force --origin=127.0.0.1 --key-file="$dir/munge.key" \
    --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" --seed-file="$dir/munge.seed"
  wait_until "munged to listen" test -S "$dir/munge.socket"
  run_daemon slurmctld -D
  for node in $(scontrol show hostnames "$NODES"); do
    run_daemon slurmd -D -N "$node"
  done
  wait_until "the nodes to be idle" is_idle
  trap - EXIT
}

configure() {
  local first host user
  first=$(free_ports 4)
  host=$(hostname -s)
  user=$(id -un)
  (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
  cat >"$dir/slurm.conf" <<END
ClusterName=mnist_estimator_tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$first
SlurmUser=$user
SlurmdUser=$user
# A requeued job waits until the credentials of its first run have expired, by default 120 s.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
MailProg=/bin/true
MpiDefault=none
# No cgroups: a container may make none.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
KillWait=30
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Each node has the processors and the memory that are written here, whatever the machine has.
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=4 RealMemory=65536 State=UNKNOWN
NodeName=$NODES NodeAddr=$NODES NodeHostname=$host Port=[$((first + 1))-$((first + 3))]
PartitionName=normal Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=30
# Its jobs preempt those of the other partition.
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=2 PreemptMode=OFF
END
  printf 'export SLURM_CONF=%q\n' "$SLURM_CONF" >"$dir/env"
}

# Prints the first of COUNT ports in a row that nobody listens at, below those that the system gives
# to whoever asks for any.
free_ports() { # COUNT
  local attempt first port
  for attempt in {1..50}; do
    first=$((20000 + RANDOM % 10000))
    for ((port = first; port < first + $1; port++)); do
      ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue 2
    done
    echo "$first"
    return
  done
  die "found no $1 free ports in $attempt attempts"
}

run_daemon() { # COMMAND...
  # In a session of its own: Ctrl-C at a terminal is not for it.
  setsid "$@" >"$dir/log/$(wc -l <"$dir/pids")-$1" 2>&1 </dev/null &
  echo "$!" >>"$dir/pids"
}

wait_until() { # WHAT COMMAND...
  local what=$1 until=$((SECONDS + START_SECS))
  shift
  until "$@"; do
    is_running || die "a daemon ended, waiting for $what"
    ((SECONDS < until)) || die "waited $START_SECS s for $what"
    sleep 0.2
  done
}

is_running() {
  local pid
  while read -r pid; do
    kill -0 "$pid" 2>/dev/null || return 1
  done <"$dir/pids"
}

is_idle() {
  [[ $(sinfo --noheader --partition=normal --states=idle --responding --format=%D 2>&1) == 3 ]]
}

stop() {
  trap - EXIT
  [[ -f $dir/pids ]] || return 0
  if sinfo >/dev/null 2>&1; then
    scancel --user="$(id -un)" || true
    wait_briefly "$STOP_SECS" has_no_jobs || true
  fi
  local pid
  # What a controller that has failed left running.
  for pid in $(job_processes); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  # The last one started is the first to end: slurmd says good-bye to slurmctld.
  for pid in $(tac "$dir/pids"); do
    is_ours "$pid" || continue
    kill "$pid"
    wait_briefly 10 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"/{log,state,spool,env,slurm.conf,munge.key,munge.seed,munge.socket*,*.pid,pids}
  rmdir --ignore-fail-on-non-empty "$dir"
}

wait_briefly() { # SECS COMMAND...
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < until)) || return 1
    sleep 0.1
  done
}

has_no_jobs() {
  [[ -z $(squeue --noheader --states=all --format=%T 2>/dev/null | grep -E 'ING$|SUSP') ]]
}

job_processes() {
  local environ
  for environ in /proc/[0-9]*/environ; do
    if has_variable "$environ" "SLURM_CONF=$SLURM_CONF" &&
      has_variable "$environ" "SLURM_JOB_ID=[0-9]*"; then
      basename "$(dirname "$environ")"
    fi
  done
}

# By its environment: its number may be another process's by now.
is_ours() { # PID
  has_variable "/proc/$1/environ" "SLURM_CONF=$SLURM_CONF"
}

has_variable() { # FILE PATTERN
  grep --quiet --null-data --line-regexp --regexp="$2" "$1" 2>/dev/null
}

is_gone() { # PID
  # A zombie has an empty environment.
  ! is_ours "$1"
}

show_logs() {
  tail --lines=20 "$dir"/log/* >&2 2>/dev/null || true
}

die() { # MESSAGE [STATUS]
  echo "slurm_cluster.sh: $1" >&2
  exit "${2:-1}"
}

main "$@"
