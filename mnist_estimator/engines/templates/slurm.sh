#!/bin/bash
# Trains with mnist_estimator on Slurm. Made by mnist_estimator.submit; yours to change and keep.
#
#   sbatch FILE                   submits it, from the folder that relative paths start from
#   squeue --me                   says whether it waits or runs
#   tail -f $log
#                                 shows what the tasks say, each line with the task's number
#   scancel --signal=USR1 JOBID   saves, ends the tasks, and puts the job back into the queue
#   scancel JOBID                 saves and ends it for good; sbatch FILE would continue it
#
# Lines with ## are off. Options on sbatch's command line, before FILE, go before these here.
#
#SBATCH --job-name=$name
$partition
$account
#
# The tasks are, in this order: $roles.
#SBATCH --ntasks=$ntasks
#SBATCH --cpus-per-task=$cpus
# MiB. A task gets that much for each of its processors.
#SBATCH --mem-per-cpu=$mem_per_cpu
# Slurm gives GPUs to all tasks or to none, so a parameter server gets them as well.
$gpus
#
# Minutes; without it the partition's limit holds. Training need not fit: at the limit it is saved
# and back into the queue it goes.
$time_limit
# So many seconds before that limit (Slurm says: up to 60 s earlier), SIGUSR1 goes to the tasks.
# Each ends the step it is in, the chief saves, and all exit with code 143. With "B:" before it,
# only this shell would be told, and nothing would be saved.
#SBATCH --signal=USR1@$grace_secs
# After a preemption or the loss of a node, Slurm itself puts the job into the queue again. On a
# preemption it sends SIGTERM, which does the same as SIGUSR1.
#SBATCH --requeue
# One log, relative to the folder of the submission; a restart goes on in it.
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append

# Checkpoints, TensorBoard's events, status.json, run.json and the result, metrics.json. All tasks
# must see this folder, and that of the data.
model_dir=$model_dir
# How often this script puts the job back into the queue. What Slurm requeues counts as well.
max_restarts=$max_restarts

echo "job $$SLURM_JOB_ID on $$SLURM_JOB_NODELIST, restart $${SLURM_RESTART_COUNT:-0}"
printf 'watch with: tensorboard --logdir=%q\n' "$$model_dir"

# What Slurm sends to the whole job reaches this shell too. It has to outlive its tasks.
trap : TERM USR1

# The tasks read their places from Slurm's variables (SLURM_PROCID, SLURM_JOB_NODELIST and others):
#   --cpus-per-task     from Slurm 22.05 on, srun does not take it over from above.
#   --distribution      block: tasks are numbered node by node, as those variables describe them.
#   --kill-on-bad-exit  0: srun would kill the chief, in the middle of saving, when a task that was
#                       told to go has gone. A task that has lost another ends by itself, within
#                       half a minute.
#   --wait              0: no limit on how long the chief tests and exports, or the evaluator takes
#                       for the last checkpoint, after the workers have ended.
srun --cpus-per-task="$$SLURM_CPUS_PER_TASK" --distribution=block --kill-on-bad-exit=0 --wait=0 \
  --label $command
# The highest of the tasks' codes. 1 failed, 2 wrong flags or bad input: the same again would not
# help. 128 and more, to be run again: 143 told to go, 138 another task is gone, 137 killed.
code=$$?

if ((code < 128)); then
  exit "$$code"
fi
# Of a job that was cancelled, or that Slurm is queueing again, the state is not RUNNING any more.
# A busy controller may not answer at once.
for _ in 1 2 3 4 5 6; do
  state=$$(squeue --noheader --jobs="$$SLURM_JOB_ID" --format=%T) && break
  sleep 5
done
if [[ -z $$state ]]; then
  echo "code $$code: squeue does not say how the job stands; sbatch continues it" >&2
fi
if [[ $$state != RUNNING ]]; then
  exit "$$code"
fi
if (($${SLURM_RESTART_COUNT:-0} >= max_restarts)); then
  echo "code $$code after $$max_restarts restarts: gave up; sbatch continues the training" >&2
  exit "$$code"
fi
# Slurm starts it again after its cred_expire, by default two minutes, at the earliest.
echo "code $$code: back into the queue"
for _ in 1 2 3; do
  scontrol requeue "$$SLURM_JOB_ID" && exit "$$code"
  sleep 5
done
echo "code $$code: scontrol did not put it back; sbatch continues it" >&2
exit "$$code"
