"""Convolution of Bernoulli synapses."""

from collections.abc import Sequence, Sized

import torch
import torch.nn.functional as F
from torch import Tensor

from synsim._checks import choice, is_whole, require, whole
from synsim._doors import typed
from synsim.synapses.base import StochasticLayer

Pair = int | tuple[int, int]


class BernoulliConv2d(StochasticLayer):
    """`nn.Conv2d` whose synapses release at random; with p = 1 and without replicas it is `nn.Conv2d`, bit for bit.

    A kernel entry is one synapse, shared by all positions: it is released or not for the whole image.

    Args:
        in_channels: input channels C.
        out_channels: output channels O.
        kernel_size: height and width of the kernel.
        stride: as in `nn.Conv2d`.
        padding: as in `nn.Conv2d`, "same" and "valid" included; zeros are padded.
        dilation: as in `nn.Conv2d`.
        groups: as in `nn.Conv2d`.
        p: release probability: a number, [R], or shaped like the weight.
        bias: whether there is a bias.
        sites: release sites N per synapse.
        scope: "batch": one mask per forward pass; "sample": one per example.
        replicas: R independent layers in one.
        device: where the tensors live.
        dtype: their floating-point type.

    Shapes:
        weight [O, C / groups, kH, kW] or [R, ...]; input [B, C, H, W] (shared) or [R, B, C, H, W];
        output [B, O, H', W'] or [R, B, O, H', W'].

    Compiled, it is a break of the graph, but in the mean field (see `Addressed`).

    Source:
        Schug, Benzing & Steger 2021, eq. 4.1 to 4.3, with shared weights.
    """

    example_ndim = 3

    @typed
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        p: float | Tensor | Sequence[float] = 0.25,
        bias: bool = False,
        sites: int = 1,
        scope: str = "batch",
        replicas: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        in_channels, out_channels = whole(in_channels, "in_channels"), whole(out_channels, "out_channels")
        groups = whole(groups, "groups")
        require(
            in_channels % groups == 0 and out_channels % groups == 0,
            f"groups must divide in_channels and out_channels, got {groups}, {in_channels} and {out_channels}.",
        )
        kernel = _pair(kernel_size, "kernel_size", 1)
        super().__init__(
            (out_channels, in_channels // groups, *kernel),
            p=p,
            bias=bias,
            sites=sites,
            scope=scope,
            replicas=replicas,
            device=device,
            dtype=dtype,
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.stride, self.dilation = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1)
        self.padding = _padding(padding, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Transmit.

        Args:
            x: [B, C, H, W], or with replicas also [R, B, C, H, W]; without replicas also one image [C, H, W].

        Returns:
            [B, O, H', W'], or with replicas [R, B, O, H', W'].
        """
        if isinstance(x, Tensor) and x.ndim == 3 and self.replicas is None:
            out: Tensor = self.forward(x.unsqueeze(0))
            return out[0]
        self.check_input(x, self.in_channels)
        return self.release.convolve(self, x)

    def _convolved(self, x: Tensor, strength: Tensor) -> Tensor:
        # One strength for all examples; x as it came.
        if self.replicas is None:
            return self._convolve(x, strength, self.bias, self.groups)
        if x.is_cpu:
            return self._one_after_the_other(x, strength)
        inputs = x if x.ndim == 5 else x.unsqueeze(0).expand(self.replicas, *x.shape)
        bias = None if self.bias is None else self.bias.flatten()
        out = self._convolve(
            inputs.transpose(0, 1).flatten(1, 2), strength.flatten(0, 1), bias, self.groups * self.replicas
        )
        return out.reshape(out.shape[0], self.replicas, -1, *out.shape[2:]).transpose(0, 1)

    def _one_after_the_other(self, x: Tensor, strength: Tensor) -> Tensor:
        # On a CPU convolutions in groups take longer than one of each replica's own, of which each stays in the cache.
        # `unbind`, whose derivative is a single stack, where that of an index would fill a tensor for each replica.
        replicas = strength.shape[0]
        inputs = x.unbind() if x.ndim == 5 else (x,) * replicas
        biases = (None,) * replicas if self.bias is None else self.bias.unbind()
        rows = zip(inputs, strength.unbind(), biases, strict=True)
        return torch.stack([self._convolve(*row, self.groups) for row in rows])

    def _convolve(self, x: Tensor, strength: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        return F.conv2d(x, strength, bias, self.stride, self.padding, self.dilation, groups)

    def _convolved_each(self, x: Tensor, strength: Tensor) -> Tensor:
        # x [E, C, H, W], strength [E, O, C / groups, kH, kW]: the examples are groups of one image.
        out = self._convolve(x.flatten(0, 1).unsqueeze(0), strength.flatten(0, 1), None, self.groups * x.shape[0])
        return out[0].reshape(*strength.shape[:2], *out.shape[2:])


def _padding(value: Pair | str, stride: tuple[int, int]) -> tuple[int, int] | str:
    if not isinstance(value, str):
        return _pair(value, "padding", 0)
    choice(value, "padding", ("same", "valid"))
    require(value == "valid" or stride == (1, 1), f"padding='same' needs a stride of 1, got {stride}.")
    return value


def _pair(value: Pair, what: str, least: int) -> tuple[int, int]:
    pair = (value, value) if is_whole(value) else value
    require(
        isinstance(pair, Sized) and len(pair) == 2,
        f"{what} must be a whole number or two of them, got {value!r}.",
    )
    height, width = pair  # type: ignore[misc]
    # Torch counts places of a kernel in 32 bits.
    return whole(height, what, least, 2**31 - 1), whole(width, what, least, 2**31 - 1)
