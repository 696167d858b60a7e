#!/usr/bin/env bash
# All that only a CUDA device can show, in one command and one JSON; scripts/gpu_check.py says what.
#     scripts/gpu_check.sh [--out FOLDER] ...      PYTHON names another interpreter
# Takes python3 where it has PyTorch with CUDA, else .venv, which is set up first as by make test.
set -euo pipefail
cd "$(dirname "$0")/.."
has_cuda() { "$1" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; }
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if ! has_cuda python3; then
        make .venv/dev
        PYTHON=.venv/bin/python
    fi
fi
PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" scripts/gpu_check.py "$@"
