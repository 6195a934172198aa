"""Read the ops and their planned devices from coremltools' ``MLComputePlan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import ExecutorError
from harness.runtime.compute_plan import PlannedOp

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE_NAMES = {
    "MLNeuralEngineComputeDevice": "ane",
    "MLGPUComputeDevice": "gpu",
    "MLCPUComputeDevice": "cpu",
}


def planned_ops(plan: Any, function: str = "") -> Iterator[PlannedOp]:
    """Yield the ops of a function of an ``MLComputePlan``, those of inner blocks after the op that holds them.

    Raises
    ------
    ExecutorError: for a model that is not an ML program.
    """
    program = plan.model_structure.program
    if program is None:
        raise ExecutorError("no ML program: Core ML plans it as a neural network or a pipeline, which is not read here")
    names = [function] if function else (["main"] if "main" in program.functions else list(program.functions))
    for name in names:
        yield from _planned_block(plan, program.functions[name].block, name)


def _planned_block(plan: Any, block: Any, function: str) -> Iterator[PlannedOp]:
    for operation in block.operations:
        op_type = operation.operator_name.rpartition(".")[2]
        if op_type != "const":
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            bindings = [binding for argument in operation.inputs.values() for binding in argument.bindings]
            yield PlannedOp(
                op_type,
                operation.outputs[0].name if operation.outputs else "",
                "unknown" if usage is None else device_name(usage.preferred_compute_device),
                () if usage is None else tuple(sorted(set(map(device_name, usage.supported_compute_devices)))),
                None if cost is None else float(cost.weight),
                tuple(binding.name for binding in bindings if binding.name),
                function,
            )
        for inner in operation.blocks:
            yield from _planned_block(plan, inner, function)


def device_name(device: Any) -> str:
    """Return the short name of an ``MLComputeDevice``."""
    return next(
        (DEVICE_NAMES[kind.__name__] for kind in type(device).__mro__ if kind.__name__ in DEVICE_NAMES), "unknown"
    )
