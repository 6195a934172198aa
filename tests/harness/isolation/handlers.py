"""Handlers that do what models do to their processes."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import msgspec

from harness.errors import ConversionError


def echo(body, announce):
    """Announce and yield each element."""
    for one in msgspec.json.decode(body):
        announce(f"at {one}")
        yield msgspec.json.encode(one)


def pid(body, announce):
    yield msgspec.json.encode(os.getpid())


def segfault(body, announce):
    announce("reading address 0")
    yield b"1"
    ctypes.string_at(0)


def abort(body, announce):
    print("something was wrong", file=sys.stderr, flush=True)  # noqa: T201
    os.abort()
    yield b""


def kill(body, announce):
    os.kill(os.getpid(), signal.SIGKILL)
    yield b""


def leave(body, announce):
    os._exit(7)
    yield b""


def hang(body, announce):
    announce("waiting")
    time.sleep(3600)
    yield b""


def hang_natively(body, announce):
    """Hold the interpreter's lock for good, as native code may."""
    ctypes.PyDLL(None).sleep(3600)
    yield b""


def allocate(body, announce):
    announce("allocating")
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.005)
    yield b""


def allocate_at_once(body, announce):
    bytearray(1 << 44)
    yield b""


def refuse(body, announce):
    raise ConversionError("llama: coremltools: no")
    yield b""


def fail(body, announce):
    raise ValueError("two\nlines")
    yield b""


def flood(body, announce):
    line = "x" * 100_000
    for _ in range(2_000):
        print(line)  # noqa: T201
        time.sleep(0.001)
    yield b"1"


def nonsense(body, announce):
    os.write(int(sys.argv[2]), b"this is no message\n")
    time.sleep(3600)
    yield b""


def fork_and_leave(body, announce):
    """Leave a grandchild behind that holds the pipe open."""
    if os.fork() == 0:
        time.sleep(3600)
    os.kill(os.getpid(), signal.SIGKILL)
    yield b""


def fork_and_allocate(body, announce):
    """Let a grandchild do the allocating."""
    if os.fork() == 0:
        for _ in allocate(body, lambda _: None):
            pass
    time.sleep(3600)
    yield b""


def work(body, announce):
    """Sleep ``seconds`` holding ``mib`` of memory; say when it began and ended, by the machine's clock."""
    job = msgspec.json.decode(body)
    kept = bytearray(os.urandom(1 << 20)) * job.get("mib", 0)
    begin = time.monotonic()
    time.sleep(job.get("seconds", 0))
    yield msgspec.json.encode({"key": job["key"], "begin": begin, "end": time.monotonic(), "kept": len(kept)})
