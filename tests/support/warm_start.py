"""A process that has bulkcancel loaded and forks one more for each command: no start-up to pay.

Each command still is a process: with its own descriptors, environment, working directory, signal
handlers and exit. What a real start does besides, and variables that Python itself reads when it
starts, are not seen here.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NoReturn

_LOADED = (
    "bulkcancel.__main__",
    "bulkcancel.cli.app",
    "bulkcancel.cli.commands.run",
    "bulkcancel.cli.commands.report",
    "bulkcancel.cli.commands.find",
    "bulkcancel.cli.commands.sandbox",
    "bulkcancel.cli.commands.verify",
    "bulkcancel.cli.commands.completion",
    "bulkcancel.sandbox.server",
    "anyio._backends._asyncio",
    "prometheus_client",
    "rich.progress",
    "uvloop",
)
_TURN = Lock()


class WarmProcess:
    """A command in a process that was forked; has what tests use of `subprocess.Popen`.

    `stdin` is a descriptor, `subprocess.PIPE` or `subprocess.DEVNULL`; output comes through pipes.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        stdin: int,
        env: Mapping[str, str],
        fault: str,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdin: BinaryIO | None = None
        if stdin == subprocess.PIPE:
            read_in, write_in = os.pipe()
            self.stdin = os.fdopen(write_in, "wb")
        else:
            read_in = os.open(os.devnull, os.O_RDONLY) if stdin < 0 else os.dup(stdin)
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        self._status, write_status = os.pipe()
        self.stdout, self.stderr = os.fdopen(read_out, "rb"), os.fdopen(read_err, "rb")
        self._output: list[Future[bytes]] = []
        request = {"argv": self.args, "cwd": str(cwd), "env": dict(env), "fault": fault}
        theirs = [read_in, write_out, write_err, write_status]
        with _TURN:
            channel = _server()
            socket.send_fds(channel, [b"\0"], theirs)
            channel.sendall(json.dumps(request).encode() + b"\n")
            self.pid = int(_line(channel))
        for descriptor in theirs:
            os.close(descriptor)

    def poll(self) -> int | None:
        """Return how it ended, a signal as a negative number; `None` while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended; raises `TimeoutExpired` after these seconds."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with os.fdopen(self._status, "rb") as status:
                self.returncode = int(status.read())
        return self.returncode

    def communicate(
        self, data: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """Write `data`, read all output and wait for the end; raises `TimeoutExpired`."""
        if not self._output:
            pool = ThreadPoolExecutor(3)
            self._output = [pool.submit(_read, each) for each in (self.stdout, self.stderr)]
            if self.stdin is not None:
                pool.submit(_write, self.stdin, data or b"")
            pool.shutdown(wait=False)
        self.wait(timeout)
        out, err = [each.result(timeout) for each in self._output]
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it that signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL, if it has not ended."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)  # first: it ends when nobody is left to ask
    return ours


def _line(channel: socket.socket) -> bytes:
    """Read one line: there is never more than one on its way."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := channel.recv(1)):
            raise EOFError("the process that forks commands has ended")
        line += byte
    return line


def _read(stream: BinaryIO) -> bytes:
    with stream:
        return stream.read()


def _write(stream: BinaryIO, data: bytes) -> None:
    with suppress(BrokenPipeError), stream:  # it ended without reading all, as it may
        stream.write(data)


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork a process for each request; returns the request in that process alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 4)
        if not descriptors:  # the tests have ended
            sys.exit()
        request: dict[str, Any] = json.loads(_line(channel))
        if os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        pid = os.fork()
        if pid:
            _wait_for(pid, channel, descriptors)
        channel.close()
        *streams, status = descriptors
        os.close(status)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return request


def _wait_for(pid: int, channel: socket.socket, descriptors: Sequence[int]) -> NoReturn:
    """Say how that process ends, when it does."""
    *streams, status = descriptors
    for descriptor in streams:
        os.close(descriptor)
    channel.sendall(b"%d\n" % pid)
    channel.close()
    _, code = os.waitpid(pid, 0)
    os.write(status, b"%d" % os.waitstatus_to_exitcode(code))
    os._exit(0)


def _begin(request: dict[str, Any]) -> None:
    """Be the process that was asked for, from `main` to the exit."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["argv"]
    exec(request["fault"], {"__name__": "__main__"})
    from bulkcancel.__main__ import main  # noqa: PLC0415 - after the fault, as in a real start

    main()


if __name__ == "__main__":
    sys.path[0] = ""  # as with `python -m`
    for name in _LOADED:
        with suppress(ImportError):  # a command that needs it says so
            import_module(name)
    gc.freeze()
    _begin(_serve(socket.socket(fileno=int(sys.argv[1]))))
