#!/usr/bin/env bash
# Builds the guides and the API reference as pages in docs/_build/html. A broken link between pages,
# a name that the reference lacks and a docstring that can't be read are errors; the web is not asked.
set -euo pipefail
cd "$(dirname "$0")/.."

bash launch/install.sh docs
JAX_PLATFORMS=cpu .venv/bin/python -m sphinx --builder html --conf-dir docs \
    --nitpicky --fail-on-warning --keep-going --quiet . docs/_build/html
echo "docs/_build/html/docs/index.html"
