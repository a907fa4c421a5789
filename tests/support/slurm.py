"""What srun sets in the environment of one task of a step."""

from __future__ import annotations

# srun's manual, OUTPUT ENVIRONMENT VARIABLES, and env_array_for_step in Slurm's src/common/env.c.
SLURM = {
    "SLURM_JOB_ID": "4242",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "7",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_JOB_NODELIST": "n[08-12]",
    "SLURM_STEP_NODELIST": "n[08-10],login",
    "SLURM_TASKS_PER_NODE": "4(x5)",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "1",
    "SLURMD_NODENAME": "n09",
}
