"""The door through which every pass of a module that draws goes: compilers, tracers and checkpoints are met here.

Draws can't be seen by a tracer: it would record one mask for good. So `torch.compile` leaves the graph here and comes
back after the layer, and the layer runs as it always does; tracers that can't leave are refused in words. In the mean
field nothing is drawn, and a pass is traced as that of any module (from torch 2.12).
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch._compile import _disable_dynamo

from synsim._doors import explain
from synsim.synapses import recomputation
from synsim.synapses.recomputation import _backward, _hooks, suspected

if TYPE_CHECKING:
    from synsim.synapses.addressed import Addressed

_compiling = torch.compiler.is_compiling
_graded = torch.is_grad_enabled
_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state

_SEES_VIEWS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 12)
"""Whether the compiler reads what belongs to a thread, such as a view: before, the mean field leaves the graph, too."""

TRACED = (
    "can't be drawn while {what} records the pass: one mask would be kept for good. Trace the mean field instead "
    "(with synsim.expected(net): ...), or use torch.compile, which leaves stochastic layers out of its graphs."
)


def door(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A `forward` that knows where it is called from.

    Args:
        forward: method of a module that draws.

    Returns:
        The method in its stead.
    """

    @wraps(forward)
    def enter(self: "Addressed", *args: Any, **kwargs: Any) -> Any:
        # Questions without a call between them: all of them are asked at every pass of every layer.
        if _compiling():
            if _SEES_VIEWS and self.idle():
                return forward(self, *args, **kwargs)
            require_compiler(self)
            return _outside(forward, self, args, kwargs)
        if _modes() or _tracing() is not None:
            refuse_tracers(self)
        try:
            if _hooks(True) is not None or _backward() != -1 if _graded() else suspected():
                return recomputation.tied(forward, self, args, kwargs)
            return forward(self, *args, **kwargs)
        except Exception as error:
            explain(forward, (self, *args), kwargs, error)
            raise

    return enter


# Torch's own decorator, which imports its compiler (a second, and a folder to write to) at the first use alone.
@_disable_dynamo
def _outside(forward: Callable[..., Any], module: "Addressed", args: Any, kwargs: Any) -> Any:
    # Entered again: a compiled function may be checkpointed, or repeated by a backward pass.
    return door(forward)(module, *args, **kwargs)


# What torch.compile(fullgraph=True) says.
_outside._torchdynamo_disable = True  # type: ignore[attr-defined]
_outside._torchdynamo_disable_msg = (  # type: ignore[attr-defined]
    "synapses that release at random draw outside of the compiled graph; fullgraph=True is possible in the mean field "
    "alone (with synsim.expected(net): ...)"
)


def require_compiler(module: "Addressed") -> None:
    """Refuse tracers that take a pass as a whole.

    Args:
        module: the module.

    Raises:
        RuntimeError: under torch.export.
    """
    # The flag itself: torch 2.8 answers the public question with yes whenever it traces.
    if torch.compiler._is_exporting_flag:
        raise RuntimeError(f"the releases of {type(module).__name__} " + TRACED.format(what="torch.export"))


def refuse_tracers(module: "Addressed") -> None:
    """Refuse to draw under a tracer that would keep one mask.

    Args:
        module: the module.

    Raises:
        RuntimeError: under torch.jit.trace, make_fx or fake tensors, unless the mean field is in force.
    """
    if module.idle():
        return
    names = {type(mode).__name__ for mode in torch.utils._python_dispatch._get_current_dispatch_mode_stack()}
    what = "torch.jit.trace" if _tracing() is not None else None
    for name in ("ProxyTorchDispatchMode", "FakeTensorMode", "FunctionalTensorMode"):
        what = name if name in names else what
    if what is not None:
        raise RuntimeError(f"the releases of {type(module).__name__} " + TRACED.format(what=what))
