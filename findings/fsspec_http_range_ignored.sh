#!/usr/bin/env bash
# fsspec 2026.9.0 (aiohttp 3.14.5): cat_file(url, start, end) gives the whole file, without an error
# or a warning, where the server does not know Range (Python's own http.server does not). Whoever
# reads a member of a tar by its offset gets other bytes than were asked for.
# Seen: 10 bytes are asked for of a file of 1,000, and 1,000 come.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fsspec==2026.9.0 aiohttp==3.14.5
mkdir "$folder/files"
"$folder/venv/bin/python" - "$folder/files" <<'PYTHON'
import functools
import http.server
import pathlib
import sys
import threading

import fsspec

root = pathlib.Path(sys.argv[1])
(root / "shard.tar").write_bytes(bytes(range(250)) * 4)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


handler = functools.partial(Quiet, directory=root)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/shard.tar"
found = len(fsspec.filesystem("http").cat_file(url, start=100, end=110))
print(f"fsspec {fsspec.__version__}: 10 bytes were asked for, {found} came")
sys.exit(found != 1000)
PYTHON
