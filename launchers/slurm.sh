#!/bin/bash
# Two nodes of eight GPUs under SLURM: sbatch launchers/slurm.sh gin/FILE.gin [more options of launch.py]
#SBATCH --job-name=recovery-likelihood
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
# every process gets it five minutes before the time is over, saves within a step and exits with 75
#SBATCH --signal=USR1@300

gin=$1
shift
run=runs/$(basename "$gin" .gin)
# a run that has begun goes on
resume=()
if compgen -G "$run/checkpoints/step_*" > /dev/null; then resume=(--resume); fi

export MASTER_ADDR MASTER_PORT=29500 ACCELERATE_MIXED_PRECISION=bf16
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# a task a GPU, without a launcher between: the signal reaches the processes, and their code comes back
srun bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec "$@"' bash \
    python launch.py --gin "$gin" --output "$run" "${resume[@]}" "$@"
code=$?
# 75: saved, or left by another process; any other fault would only come again
if [ $code -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
