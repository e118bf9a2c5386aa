#!/usr/bin/env bash
# Installs, generates the built-in data, trains a text-to-image model on it, and evaluates it.
# Existing data and checkpoints are reused; an interrupted training continues.
set -euo pipefail
cd "$(dirname "$0")/.."

bash launch/install.sh
dalle_jax() { .venv/bin/dalle-jax "$@"; }
dalle_jax prepare captioned_shapes/easy --resolution=32
dalle_jax train --config=configs/quickstart.py --workdir=runs/quickstart
dalle_jax evaluate --workdir=runs/quickstart --split=test --n=512
