#!/bin/bash
# Searches flags with mnist_estimator on Slurm: an array job of $tasks tasks, which all take trials
# of one study. Made by mnist_estimator.submit; yours to change and keep.
#
#   sbatch FILE                   submits it, from the folder that relative paths start from
#   squeue --me                   says what waits or runs
#   tail -f $name-JOBID_*.log
#                                 shows what the tasks say
#   scancel JOBID                 ends all tasks; each saves its trial, and sbatch FILE goes on
#
# Tasks may begin and end at any time: whichever runs takes the next trial. The one that ends the
# last trial prints the table, and writes best.flags and report.html to $model_dir.
#
# Lines with ## are off.
#
#SBATCH --job-name=$name
$partition
$account
# More or fewer tasks do as well; %N after it lets only N of them run at once.
#SBATCH --array=0-$last
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=$cpus
# MiB. A task gets that much for each of its processors.
#SBATCH --mem-per-cpu=$mem_per_cpu
$gpus
#
# Minutes for each task; without it the partition's limit holds. The sweep need not fit: at the
# limit a task's trial is saved and the task goes back into the queue.
$time_limit
# So many seconds before that limit (Slurm says: up to 60 s earlier), SIGUSR1 goes to the task. Its
# trial ends the step that it is in and saves, and both exit with code 143.
#SBATCH --signal=USR1@$grace_secs
# After a preemption or the loss of a node, Slurm itself puts the task into the queue again.
#SBATCH --requeue
# A log for each task; a restart goes on in it.
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append

# How often this script puts a task back into the queue. What Slurm requeues counts as well.
max_restarts=$max_restarts

# By this, and not by SLURM_JOB_ID: of one task that is the number of the whole array.
task=$${SLURM_ARRAY_JOB_ID}_$$SLURM_ARRAY_TASK_ID

echo "job $$task on $$SLURM_JOB_NODELIST, restart $${SLURM_RESTART_COUNT:-0}"

# What Slurm sends to the whole job reaches this shell too. It has to outlive its task.
trap : TERM USR1

# --cpus-per-task: from Slurm 22.05 on, srun does not take it over from above.
srun --cpus-per-task="$$SLURM_CPUS_PER_TASK" \
  $command
# 1 failed, 2 wrong flags or bad input: the same again would not help. 128 and more, to be run again:
# 143 told to go, 138 the study's storage does not answer, 137 killed.
code=$$?

if ((code < 128)); then
  exit "$$code"
fi
# Of a task that was cancelled, or that Slurm is queueing again, the state is not RUNNING any more.
# A busy controller may not answer at once.
for _ in 1 2 3 4 5 6; do
  state=$$(squeue --noheader --jobs="$$task" --format=%T) && break
  sleep 5
done
if [[ -z $$state ]]; then
  echo "code $$code: squeue does not say how the job stands; sbatch continues it" >&2
fi
if [[ $$state != RUNNING ]]; then
  exit "$$code"
fi
if (($${SLURM_RESTART_COUNT:-0} >= max_restarts)); then
  echo "code $$code after $$max_restarts restarts: gave up; sbatch continues the sweep" >&2
  exit "$$code"
fi
echo "code $$code: back into the queue"
for _ in 1 2 3; do
  scontrol requeue "$$task" && exit "$$code"
  sleep 5
done
echo "code $$code: scontrol did not put it back; sbatch continues it" >&2
exit "$$code"
