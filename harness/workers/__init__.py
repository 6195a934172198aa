"""Run work in a child process with a time and a memory limit, so that a crash there cannot end the run.

A model may segfault, hang, allocate without end, or be killed by the system: each becomes an
:class:`~harness.workers.protocol.End` with a true status, and the caller goes on with the next one.

child = Child()
for message in child.ask("harness.run.jobs:handle", body, Limits(seconds=600, memory_bytes=8 << 30)):
    ...            # Step, Item, Item, ..., End
child.close()
"""

from harness.workers.child import Child, Limits
from harness.workers.protocol import End, Item, Step

__all__ = ["Child", "End", "Item", "Limits", "Step"]
