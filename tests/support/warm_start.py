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
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

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


def run_warm(
    arguments: Sequence[str],
    *,
    cwd: Path,
    stdin: bytes | Path | None,
    env: Mapping[str, str],
    timeout_s: float,
    fault: str,
) -> subprocess.CompletedProcess[bytes]:
    """Do what `subprocess.run` does, one command at a time; raises `TimeoutExpired` like it."""
    channel = _server()
    with ThreadPoolExecutor(3) as pool:
        (read_in, write_in), (read_out, write_out) = _input(stdin), os.pipe()
        read_err, write_err = os.pipe()
        theirs = [read_in, write_out, write_err]
        socket.send_fds(channel, [b"\0"], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        request = {"argv": arguments, "cwd": str(cwd), "env": dict(env), "fault": fault}
        channel.sendall(json.dumps(request).encode() + b"\n")
        pid = int(_line(channel))
        out, err = pool.submit(_read, read_out), pool.submit(_read, read_err)
        if isinstance(stdin, bytes):
            pool.submit(_write, write_in, stdin)
        channel.settimeout(timeout_s)
        try:
            code = int(_line(channel))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            channel.settimeout(None)
            _line(channel)
            raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
        channel.settimeout(None)
        return subprocess.CompletedProcess(list(arguments), code, out.result(), err.result())


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


def _input(stdin: bytes | Path | None) -> tuple[int, int]:
    if isinstance(stdin, bytes):
        return os.pipe()
    return os.open(stdin or os.devnull, os.O_RDONLY), -1


def _line(channel: socket.socket) -> bytes:
    """Read one line: there is never more than one on its way."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := channel.recv(1)):
            raise EOFError("the process that forks commands has ended")
        line += byte
    return line


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as stream:
        return stream.read()


def _write(descriptor: int, data: bytes) -> None:
    try:
        with open(descriptor, "wb", buffering=0) as stream:
            while data:
                data = data[stream.write(data) :]
    except BrokenPipeError:
        return  # it ended without reading all, as it may


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork a process for each request; returns the request in that process alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 3)
        if not descriptors:  # the tests have ended
            sys.exit()
        request: dict[str, Any] = json.loads(_line(channel))
        pid = os.fork()
        if not pid:
            channel.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        channel.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


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
