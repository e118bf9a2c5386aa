#!/usr/bin/env bash
# Installs, generates the built-in data, trains a text-to-image model on it, and evaluates it.
# Existing data and checkpoints are reused; an interrupted training continues.
set -euo pipefail
cd "$(dirname "$0")/.."

bash launch/install.sh
dalle_jax() { .venv/bin/dalle-jax "$@"; }
dalle_jax prepare captioned_shapes/easy --resolution=32
dalle_jax train --config=quickstart --workdir=runs/quickstart --config.decoder.train.preview_every=100
dalle_jax evaluate --workdir=runs/quickstart --split=test --n=512
cat <<'END'

Next:
  .venv/bin/dalle-jax sample --workdir=runs/quickstart "a large red circle" --n=8 --out=circle.png
  .venv/bin/dalle-jax evaluate --workdir=runs/quickstart --split=test_novel
  .venv/bin/dalle-jax sweep guidance --workdir=runs/sweeps --reuse=runs/quickstart --dry-run
END
