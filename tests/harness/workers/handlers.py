"""Handlers that do what models do to their processes."""

from __future__ import annotations

import ctypes
import importlib
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


def where(body, announce):
    yield msgspec.json.encode((os.environ.get("MODEL"), os.getcwd()))  # noqa: PTH109 - as the process has it


def heavy(body, announce):
    """Import what takes long, as a model does."""
    yield msgspec.json.encode(importlib.import_module("heavy_module").__name__)


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


def kill_parent(body, announce):
    """End the process that looks after this one, as a machine that loses its power does."""
    announce("ending the worker")
    time.sleep(0.3)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)
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


def rows(body, announce):
    """Yield a record for each case, as a model would, at once; each waits a little so that a kill may come between."""
    from harness.plan import run_plan

    job = msgspec.json.decode(body, type=run_plan.Job)
    for step in run_plan.PREPARATION:
        announce(step)
    for case in job.cases:
        announce(f"convert {case.title}")
        time.sleep(0.02)
        metrics = {"rel_l2": len(job.spec.key) * 1e-3}
        yield msgspec.json.encode(run_plan.record(job.spec, job.options, case, status="ok", metrics=metrics))


FAULTS = {"segfault": segfault, "hang": hang, "grow": allocate, "raise": fail}
"""What models of these keys do."""


def faulty(body, announce):
    """Do as the model's key says: a fault after its first case; the others run as they are."""
    from harness.plan import run_plan
    from harness.run import jobs

    job = msgspec.json.decode(body, type=run_plan.Job)
    if job.spec.key in FAULTS:
        yield from rows(msgspec.json.encode(msgspec.structs.replace(job, cases=())), announce)
        announce("convert off")
        for _ in FAULTS[job.spec.key](body, announce):
            pass
    else:
        yield from jobs.handle(body, announce)


def faulty_rows(body, announce):
    """Do as the model's key says: a fault, or else rows as :func:`rows` yields them, without any library."""
    from harness.plan import run_plan

    job = msgspec.json.decode(body, type=run_plan.Job)
    yield from (faulty if job.spec.key in FAULTS else rows)(body, announce)


def variable(body, announce):
    """Yield an environment variable."""
    yield msgspec.json.encode(os.environ.get(msgspec.json.decode(body)))
