#!/bin/bash
# Prepares a dataset with mnist_estimator on Slurm, in $parts parts. Made by mnist_estimator.submit;
# yours to change and keep.
#
#   bash FILE                submits the parts as an array job, and a job that merges them when all
#                            have succeeded; from the folder that relative paths start from
#   squeue --me              says what waits or runs
#   tail -f $name-JOBID*.log
#                            shows what the parts and the merge say
#   scancel --name=$name     ends all; bash FILE goes on: parts that are there are left as they are
#
# Lines with ## are off.
#
#SBATCH --job-name=$name
$partition
$account
# What each part gets; the memory in MiB for each of its processors.
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=$cpus
#SBATCH --mem-per-cpu=$mem_per_cpu
# Minutes for each part; without it the partition's limit holds.
$time_limit
# After a preemption or the loss of a node, Slurm puts a part into the queue again.
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

case $${1-} in
  "")
    array=$$(sbatch --parsable --array=1-$parts --output=%x-%A_%a.log "$$0" part)
    array=$${array%%;*} # The rest is the cluster's name.
    # A part that fails for good cancels the merge.
    merge=$$(sbatch --parsable --dependency=afterok:"$$array" --kill-on-invalid-dep=yes \
      --output=%x-%j.log "$$0" merge) || {
      scancel "$$array"
      exit 1
    }
    echo "Submitted the parts as job $$array, their merge as job $${merge%%;*}"
    ;;
  part)
    exec $part \
      --part="$$SLURM_ARRAY_TASK_ID/$parts"
    ;;
  merge)
    exec $merge
    ;;
  *)
    echo "$$0: found $$1, expected nothing: Slurm itself runs the parts and the merge" >&2
    exit 2
    ;;
esac
