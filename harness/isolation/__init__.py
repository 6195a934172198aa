"""Work done in a child process with a time and a memory limit, so that nothing it does can end the run.

A model may segfault, hang, allocate without end, or be killed by the system: each becomes an
:class:`~harness.isolation.messages.End` with a true status, and the caller goes on with the next one.

child = Child()
for message in child.ask("harness.jobs:handle", body, Limits(seconds=600, memory_bytes=8 << 30)):
    ...            # Step, Item, Item, ..., End
child.close()
"""

from harness.isolation.child import Child, Limits
from harness.isolation.messages import End, Item, Step

__all__ = ["Child", "End", "Item", "Limits", "Step"]
