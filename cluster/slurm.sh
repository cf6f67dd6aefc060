#!/usr/bin/env bash
#SBATCH --job-name=metamath-ray
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --output=%x-%j.log
# A Ray cluster on the nodes of one allocation, for one command; both end with it, and with its exit code.
#   sbatch --nodes 2 --gpus-per-node 8 cluster/slurm.sh python jobs/train_metamath.py --data /shared/runs/gsm8k \
#       --model /shared/models/llama2-7b --recipe llama2-7b --num-workers 16 --output /shared/runs/student
# Killed, or out of time: submit it again, it goes on. Runs and models lie on storage that all nodes share.
# The teacher's key is taken from the environment of sbatch, and is written nowhere.
set -euo pipefail
[[ $# -gt 0 ]] || { echo "usage: sbatch --nodes N cluster/slurm.sh COMMAND" >&2; exit 2; }
cd "${SLURM_SUBMIT_DIR:?is set by sbatch}"
PATH=$PWD/.venv/bin:$PATH

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes 1 --ntasks 1 --nodelist "$head" hostname --ip-address | awk '{print $1}')
export RAY_ADDRESS=$address:$((20000 + SLURM_JOB_ID % 10000)) # where the command finds its cluster

# A token for this allocation alone, in a file that only this user can read.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/slurm-$SLURM_JOB_ID
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
(umask 077 && mkdir -p "$HOME/.ray" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")

export RAY_USAGE_STATS_ENABLED=0 RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
srun --nodes "$SLURM_JOB_NUM_NODES" --ntasks "$SLURM_JOB_NUM_NODES" \
  ray symmetric-run --address "$RAY_ADDRESS" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_ON_NODE" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" -- "$@"
