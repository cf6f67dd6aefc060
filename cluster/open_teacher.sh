#!/usr/bin/env bash
# Serves an open model as a teacher on this machine's CPU, through vLLM's OpenAI server on loopback.
#   cluster/open_teacher.sh MODEL_FOLDER MODEL_NAME [PORT]
# How the bundled ledger was recorded. On CPU vLLM keeps a core for itself unless told otherwise; here all cores
# generate (CORES=0-3 names some).
set -euo pipefail
model=${1:?usage: open_teacher.sh MODEL_FOLDER MODEL_NAME [PORT]}
name=${2:?usage: open_teacher.sh MODEL_FOLDER MODEL_NAME [PORT]}
port=${3:-8000}
cores=${CORES:-0-$(($(nproc) - 1))}
export VLLM_CPU_OMP_THREADS_BIND=$cores VLLM_CPU_NUM_OF_RESERVED_CPU=0
export VLLM_CPU_KVCACHE_SPACE=${KV_GIB:-6}
cd "$(dirname "$0")/.."
exec .venv/bin/python -m vllm.entrypoints.openai.api_server --model "$model" --served-model-name "$name" \
  --host 127.0.0.1 --port "$port" --enforce-eager --enable-prefix-caching \
  --max-num-seqs 96 --max-model-len 4096
