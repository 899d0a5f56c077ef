"""Linear layer of Bernoulli synapses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from synsim import kernels
from synsim._checks import whole
from synsim.synapses.base import StochasticLayer, transformed
from synsim.synapses.chunked import transmit_chunks
from synsim.synapses.release import product, transmit, transmit_samples


class BernoulliLinear(StochasticLayer):
    """`nn.Linear` whose synapses release at random; with p = 1 and without replicas it is `nn.Linear`, bit for bit.

    Args:
        in_features: inputs I.
        out_features: outputs O.
        p: release probability: a number, [R], or shaped like the weight.
        bias: whether there is a bias. The published model has none.
        sites: release sites N per synapse; k of N sites released transmit m · k / N.
        scope: "batch": one mask per forward pass; "sample": one per example.
        replicas: R independent layers in one; every tensor gets a leading axis R.
        device: where the tensors live.
        dtype: their floating-point type.

    Shapes:
        weight [O, I] or [R, O, I]; input [B, I] (shared by the replicas) or [R, B, I]; output [B, O] or [R, B, O].

    Source:
        Schug, Benzing & Steger 2021, eq. 4.1 to 4.3.
    """

    example_ndim = 1

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        p: float | Tensor | Sequence[float] = 0.25,
        bias: bool = False,
        sites: int = 1,
        scope: str = "batch",
        replicas: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_features = whole(in_features, "in_features")
        self.out_features = whole(out_features, "out_features")
        super().__init__(
            (out_features, in_features),
            p=p,
            bias=bias,
            sites=sites,
            scope=scope,
            replicas=replicas,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transmit.

        Args:
            x: [B, I], or with replicas also [R, B, I].

        Returns:
            [B, O], or with replicas [R, B, O].
        """
        self.check_input(x, self.in_features)
        if self.scope == "sample" and not self.address.mean:
            return self._per_example(x)
        if self.address.mean or transformed():
            return product(x, self.transmitted(), self.bias)
        strength, count = self.draw()
        own = self._parameters
        if not torch.is_grad_enabled():
            return product(x, strength, own["bias"])
        return transmit(x, own["weight"], own["bias"], strength, self._buffers["p"], count, self.sites)

    def _per_example(self, x: Tensor) -> Tensor:
        if transformed():
            lead = x if self.replicas is None or x.ndim == 3 else x.unsqueeze(0).expand(self.replicas, -1, -1)
            strength = self._plain(x.shape[-2])
            out = torch.einsum("...bi,b...oi->...bo", lead, strength)
        else:
            replicas, draw = self.replicas or 1, self._next()
            weight, p = self.weight.reshape(replicas, *self.weight.shape[-2:]), self.p
            p = p.reshape(weight.shape)
            inputs = x if x.ndim == 3 else x.unsqueeze(0).expand(replicas, -1, -1)
            keys, words = self._key(self.address.purpose)
            if kernels.path(self.weight) == "numba":
                out = transmit_samples(inputs, weight, p, words, self.sites, self.address.example, draw)
            else:
                out = transmit_chunks(inputs, weight, p, keys, self.sites, self.address.example, draw, _one_each)
            out = out if self.replicas is not None else out[0]
        if self.bias is not None:
            out = out + self.bias.unsqueeze(-2)
        return out


def _one_each(x: Tensor, strength: Tensor) -> Tensor:
    return torch.bmm(strength, x.unsqueeze(2)).squeeze(2)
