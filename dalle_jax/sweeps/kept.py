"""A process that is kept for the next job: what jobs have in common is opened once.

The launcher and the process talk over a socket. The launcher sends what is to be done, with the
job's lock and its log as open files; the process answers with what it used, in the order in which
it was asked. It ends, with the code that the job would have ended with, where a job fails, so that
nothing of a failure is left for the next; and by itself when the launcher is gone.
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple

MAX_REQUEST = 2**18  # bytes
ENDS_WITHIN = 10  # seconds after its socket was closed


class Ended(NamedTuple):
    """How a job's process has ended, or a kept one has ended the job.

    Attributes:
        code: of the exit; negative for a signal.
        core_seconds: of CPU cores that it used.
        peak_bytes: of memory; of a kept process the most since it began.
    """

    code: int
    core_seconds: float
    peak_bytes: int


class Kept:
    """The launcher's end: a process for jobs of one `server`, one after the other.

    Args:
        server: its command, to which the number of its socket is added.
        log: where it writes until its first job.
        options: of subprocess.Popen.
    """

    def __init__(self, server: Sequence[str], log: IO, **options):
        self.server = tuple(server)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [*server, str(number)], stdout=log, pass_fds=(number,), **options
            )
        self._told = 0.0  # core seconds of the jobs that have ended

    def give(self, request: Sequence[str], lock: int, log: int) -> None:
        """The next job; a process that has died says so by `poll`."""
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self._socket, [json.dumps(list(request)).encode()], [lock, log])

    def poll(self) -> Ended | None:
        """How the job has ended; None while it runs."""
        try:
            answer = self._socket.recv(MAX_REQUEST, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):  # nothing yet, or never
            answer = b""
        if answer:
            core_seconds, peak_bytes = json.loads(answer)
            before, self._told = self._told, core_seconds
            return Ended(0, core_seconds - before, peak_bytes)
        if (ended := poll(self.process)) is not None:
            # Without an answer no job is done, whatever the code.
            code = ended.code or 1
            return ended._replace(code=code, core_seconds=ended.core_seconds - self._told)
        return None

    def has_ended(self) -> bool:
        """Whether it has ended between two jobs."""
        return self.process.returncode is not None or poll(self.process) is not None

    def close(self) -> None:
        """Let it end."""
        self._socket.close()
        if self.process.returncode is None:
            try:
                self.process.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def poll(process: subprocess.Popen) -> Ended | None:
    """How a process has ended, which is asked for once; None while it runs."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, *_used(usage))


def serve(number: int, work: Callable[[list[str]], int]) -> None:
    """The process's end: give each request to `work`, until there is no launcher any more.

    Args:
        number: of the socket that it was started with.
        work: from a request to an exit code; what it prints goes to the job's log.
    """
    with socket.socket(fileno=number) as connection:
        while True:
            try:
                message, files, _, _ = socket.recv_fds(connection, MAX_REQUEST, 2)
            except ConnectionError:  # the launcher was killed before it had read an answer
                return
            if not message:
                return
            lock, log = files
            for stream in (sys.stdout, sys.stderr):
                os.dup2(log, stream.fileno())
            os.close(log)
            if code := work(json.loads(message)):
                sys.exit(code)
            sys.stdout.flush()
            sys.stderr.flush()
            used = _used(resource.getrusage(resource.RUSAGE_SELF))
            try:
                connection.send(json.dumps(used).encode())
            except ConnectionError:  # the launcher is gone, and the job is done
                return
            os.close(lock)


def _used(usage: resource.struct_rusage) -> tuple[float, int]:
    return usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss  # Linux counts in KiB
