"""Dropout whose masks come from the package's streams: the same bits alone or among replicas, and after a resume."""

import json
import secrets
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from synsim import kernels, streams
from synsim._checks import require, whole
from synsim.kernels import reference
from synsim.synapses.base import LAST_DRAW, LAST_SEED, transformed


class StreamDropout(nn.Module):
    """`nn.Dropout` that leaves torch's generators alone: one mask per call, from the unit's address.

    In training each unit is 0 with probability p and x / (1 − p) otherwise; in eval mode nothing happens. The mask is
    a function of seed, name and number of the call, and `state_dict` holds these. Inside a torch.func transform the
    mask of the latest call is used, and none is consumed.

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

    def __init__(self, p: float = 0.5, *, replicas: int | None = None) -> None:
        super().__init__()
        require(0 <= p < 1, f"p must lie in [0, 1), got {p}.")
        self.p = float(p)
        self.replicas = None if replicas is None else whole(replicas, "replicas")
        first = secrets.randbits(62)
        self.seed([first + r for r in range(self.replicas or 1)], "")

    def seed(self, seeds: Sequence[int], name: str) -> None:
        """Restart the stream of masks.

        Args:
            seeds: one seed per replica (one seed without replicas).
            name: name of the module in its network; modules of other names have other streams.

        Raises:
            ValueError: if there are not R seeds, or one is negative or too large.
        """
        lead = self.replicas or 1
        require(len(seeds) == lead, f"expected {lead} seeds, one per replica, got {len(seeds)}.")
        for one in seeds:
            whole(one, "seed", 0)
            require(one <= LAST_SEED, f"seed must be below 2**63, got {one}.")
        self._seeds, self._name, self._draw = tuple(seeds), name, 0
        self._keys = streams.keys("train", self._seeds, f"dropout/{name}")
        self._words = self._keys.numpy().astype(np.uint32)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the masks, one per replica."""
        return self._seeds

    @property
    def draws(self) -> int:
        """How many masks were consumed since the stream was seeded."""
        return self._draw

    def forward(self, x: Tensor) -> Tensor:
        """Drop units out, if in training.

        Args:
            x: [B, ...], or with replicas [R, B, ...].

        Returns:
            A tensor like x.

        Raises:
            ValueError: if x has no axis of R replicas where one is expected.
            OverflowError: after 2**32 calls.
        """
        if not self.training or self.p == 0:
            return x
        if self.replicas is not None and (x.ndim < 2 or x.shape[0] != self.replicas):
            raise ValueError(f"dropout expects inputs of shape [{self.replicas}, B, ...], got {list(x.shape)}.")
        if self._keys.device != x.device:
            self._keys = self._keys.to(x.device)
        # A unit is a synapse of strength 1 that releases with probability 1 − p.
        one = torch.ones(x.shape, dtype=x.dtype, device=x.device)
        keep = torch.full_like(one, 1 - self.p)
        if transformed():
            return x * reference.release(one, keep, self._keys, 1, 0, max(self._draw - 1, 0))[0]
        if self._draw > LAST_DRAW:
            raise OverflowError("this module has made 2**32 draws; give it another seed.")
        factor, _ = kernels.release(one, keep, self._keys, self._words, 1, 0, self._draw)
        self._draw += 1
        return x * factor

    def get_extra_state(self) -> Tensor:
        """All that the stream needs.

        Returns:
            Seeds, name and number of draws as UTF-8 JSON, a uint8 tensor.
        """
        state = {"seeds": list(self._seeds), "name": self._name, "draw": self._draw}
        return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the stream of a saved module.

        Args:
            state: what `get_extra_state` returned.

        Raises:
            ValueError: if the state is of a module with another number of replicas.
        """
        read = json.loads(bytes(state.cpu().tolist()).decode())
        self.seed(read["seeds"], read["name"])
        self._draw = read["draw"]

    def extra_repr(self) -> str:
        """What `print(module)` shows inside the brackets.

        Returns:
            The probability and the replicas.
        """
        return f"p={self.p}, replicas={self.replicas}"
