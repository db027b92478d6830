#!/usr/bin/env bash
# Tests and benchmarks on a machine with a CUDA card; results are written as it goes.
# Usage: benchmarks/device.sh [SECONDS]  (it ends after 480 by default). It installs what is missing, with a
# torch for CUDA, unless python3 can import everything; a machine without network needs that beforehand.
set -uo pipefail
cd "$(dirname "$0")/.."
if ! command -v nvidia-smi >/dev/null; then
  echo "$0: no nvidia-smi, so no CUDA card: run it on a machine that has one" >&2
  exit 2
fi
limit=${1:-480}
end=$((SECONDS + limit))
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
python=python3
if ! $python -c 'import torch, transformers, peft, datasets, evaluate, pydantic, pytest; assert torch.cuda.is_available()'; then
  python3 -m venv .venv-cuda
  python=.venv-cuda/bin/python
  grep -vE '^(torch|nvidia-.*|triton)==' constraints.txt >.venv-cuda/constraints.txt
  $python -m pip install --quiet 'torch>=2.10' -c .venv-cuda/constraints.txt -e '.[bench,dev]'
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
left() { echo $((end - SECONDS > 5 ? end - SECONDS : 5)); }
$python -c 'import torch; print(torch.cuda.get_device_name(0), torch.__version__)'
timeout $((limit / 2)) $python -m pytest -p no:cacheprovider -m gpu tests/gpu # leaves time to measure
status=$?
BEFT_MEMORY_GB=24 timeout "$(left)" $python -m benchmarks.memory opt-6.7b || status=1
timeout "$(left)" $python -m benchmarks gpu || status=1
echo "finished after $SECONDS s, status $status"
exit $status
