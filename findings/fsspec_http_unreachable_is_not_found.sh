#!/usr/bin/env bash
# fsspec 2026.9.0 (aiohttp 3.14.5): info() of a URL whose server can't be reached raises
# FileNotFoundError, and exists() is False, as for a file that is not there; that the connection was
# refused stands in __cause__ only. A reader that skips missing shards skips all of them when the
# network is down.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fsspec==2026.9.0 aiohttp==3.14.5
"$folder/venv/bin/python" - <<'PYTHON'
import socket
import sys

import fsspec

with socket.socket() as closed:  # a port that nobody listens at
    closed.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{closed.getsockname()[1]}/shard.tar"
files = fsspec.filesystem("http")
try:
    files.info(url)
except Exception as error:
    kind, cause = type(error).__name__, type(error.__cause__).__name__
exists = files.exists(url)
print(f"fsspec {fsspec.__version__}: info() raises {kind} caused by {cause}; exists() is {exists}")
sys.exit(not (kind == "FileNotFoundError" and "Connect" in cause and exists is False))
PYTHON
