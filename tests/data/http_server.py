"""A server of files by HTTP on this machine, which can break in the ways that servers do."""

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

USED_PORTS: set[int] = set()  # What a server can do is asked once, and known by its port.


@dataclass
class Server:
    """What is served, and how.

    Attributes:
        files: contents by path, "/a/0.tar".
        ranges: whether parts are sent where parts are asked for.
        listing: whether a folder is a page with links to its files.
        sizes: whether it says how long a file is.
        failures: how the next requests fail: "close", "cut" or a status; None for one that works.
        requests: (method, path, Range) of all requests.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    listing: bool = True
    sizes: bool = True
    failures: list[str | int | None] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        """The number of bytes asked for by ranges."""
        ends = [ask.removeprefix("bytes=").split("-") for _, _, ask in self.requests if ask]
        return sum(int(end) - int(start) + 1 for start, end in ends)


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Server]:
    """Serves files until the block ends."""
    state = Server(files=dict(files))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, with_body):
            path = self.path.partition("?")[0]
            asked = self.headers.get("Range")
            state.requests.append((self.command, path, asked))
            failure = state.failures.pop(0) if state.failures else None
            if failure == "close":
                self.close_connection = True
                return
            if isinstance(failure, int):
                self.send_error(failure)
                return
            body, status, fields = self.body(path)
            if body is None:
                self.send_error(404)
                return
            if asked and state.ranges and status == 200:
                start, _, end = asked.removeprefix("bytes=").partition("-")
                stop = min(int(end) + 1, len(body))
                fields["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
                body, status = body[int(start) : stop], 206
            self.send_response(status)
            if state.sizes or status == 206:
                fields["Content-Length"] = str(len(body))
            else:
                self.close_connection = True
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body[: len(body) // 2] if failure == "cut" else body)
                self.close_connection = self.close_connection or failure == "cut"

        def body(self, path):
            if path in state.files:
                etag = hashlib.sha256(state.files[path]).hexdigest()
                return state.files[path], 200, {"ETag": etag}
            if path.endswith("/") and state.listing:
                names = {p[len(path) :].partition("/") for p in state.files if p.startswith(path)}
                links = [f'<a href="{name}{slash}">x</a>' for name, slash, _ in sorted(names)]
                return "\n".join(links).encode(), 200, {"Content-Type": "text/html"}
            return None, 404, {}

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            pass  # A client that has gone.

    server = Quiet(("127.0.0.1", 0), Handler)
    while server.server_port in USED_PORTS:
        server.server_close()
        server = Quiet(("127.0.0.1", 0), Handler)
    USED_PORTS.add(server.server_port)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
