"""Dropout whose masks come from the package's streams: the same bits alone or among replicas, and after a resume."""

import torch
from torch import Tensor

from synsim import kernels
from synsim._checks import require
from synsim._doors import shown, typed
from synsim.kernels import reference
from synsim.synapses.addressed import Addressed, examples_of, rows_of, transformed


class StreamDropout(Addressed):
    """`nn.Dropout` that leaves torch's generators alone: one mask per call, from the unit's address.

    In training each unit is 0 with probability p and x / (1 − p) otherwise; in eval mode nothing happens. The mask is
    a function of seed, name and number of the call, and `state_dict` holds these. `synsim.seed` restarts it, `frozen`
    holds its mask, and in the `expected` view no unit drops out. Inside a torch.func transform the mask of the latest
    call is used, and none is consumed. Compiled, it is a break of the graph wherever units drop out.

    Args:
        p: probability that a unit drops out, in [0, 1); its complement counts in steps of 2⁻¹⁶, rounded up.
        replicas: R, or None for inputs without a replica axis.

    Shapes:
        input and output [B, ...], or with replicas [R, B, ...].

    Raises:
        ValueError: if p does not lie in [0, 1).

    Source:
        Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014, in the inverted form.
    """

    family = "dropout/"

    @typed
    def __init__(self, p: float = 0.5, *, replicas: int | None = None) -> None:
        super().__init__(replicas)
        require(0 <= p < 1, f"p must lie in [0, 1), got {p}.")
        self.p = float(p)

    def idle(self) -> bool:
        """Whether a pass would draw nothing: in eval mode, or in the mean field.

        Returns:
            True then.
        """
        return not self.training or self.p == 0 or super().idle()

    def forward(self, x: Tensor) -> Tensor:
        """Drop units out, if in training.

        Args:
            x: [B, ...], or with replicas [R, B, ...].

        Returns:
            A tensor like x.

        Raises:
            ValueError: if x is no dense tensor of floats, or has no axis of R replicas where one is expected.
        """
        if not (isinstance(x, Tensor) and x.is_floating_point() and x.layout == torch.strided):
            raise ValueError(f"dropout expects a dense tensor of floats, got {shown(x)}.")
        if self.idle():
            return x
        address = self.address
        if self.replicas is not None and (x.ndim < 2 or x.shape[0] != self.replicas):
            raise ValueError(f"dropout expects inputs of shape [{self.replicas}, B, ...], got {list(x.shape)}.")
        keys, words = self._key_on(address.purpose, x.device)
        axis = 0 if self.replicas is None else 1
        inside = transformed()
        count = examples_of(x, x.shape[axis]) if inside else x.shape[axis]
        # A unit is a synapse of strength 1 that releases with probability 1 − p, in a type that can tell it from 1.
        dtype = torch.promote_types(x.dtype, torch.float32)
        one = torch.ones((*x.shape[:axis], count, *x.shape[axis + 1 :]), dtype=dtype, device=x.device)
        keep = torch.full_like(one, 1 - self.p)
        if inside:
            factor, _ = reference.release(one, keep, keys, 1, address.example, self.latest_draw)
            return x * factor.index_select(axis, rows_of(x, x.shape[axis])).to(x.dtype)
        factor, _ = kernels.release(one, keep, keys, words, 1, address.example, self._next())
        return x * factor.to(x.dtype)

    def extra_repr(self) -> str:
        """What `print(module)` shows inside the brackets.

        Returns:
            The probability and the replicas.
        """
        return f"p={self.p}, replicas={self.replicas}"
