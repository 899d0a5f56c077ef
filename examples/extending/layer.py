"""A layer of your own: it stores φ and transmits θ = φ |φ| on average, so that small strengths move slowly.

A layer says what it stores: `expected_strength`, and its inverse. Views, scopes, rules, importances, lesions and meters
ask for no more. A closed form for gradients per example may follow; it makes the Fisher information faster.
Run it: python examples/extending/layer.py
Source: powerpropagation, α = 2 (Schwarz, Jayakumar, Pascanu, Latham & Teh 2021, NeurIPS).
"""

import torch
from torch import Tensor

import synsim
from synsim import curvature


class PowerLinear(synsim.BernoulliLinear):
    """`BernoulliLinear` with the expected strengths θ = φ |φ|; `weight` is φ."""

    @property
    def expected_strength(self) -> Tensor:
        """θ, a function of `weight` for autograd."""
        return self.weight * self.weight.abs()

    @torch.no_grad()
    def set_expected(self, value: Tensor) -> None:
        """Write φ = sign(θ) √|θ|.

        Args:
            value: θ, shaped like `weight`.
        """
        self.weight.copy_(value.sign() * value.abs().sqrt())

    def reset_parameters(self, draw: int = 0) -> None:
        """Start from the θ of a `BernoulliLinear`, as the source does; `draw` counts the starts."""
        super().reset_parameters(draw)
        self.set_expected(self.weight.detach())


class Slope(curvature.Linear):
    """Gradients with respect to φ: those with respect to θ, times 2 |φ|."""

    def slope(self, layer: PowerLinear) -> Tensor:
        return 2 * layer.weight.abs()


curvature.register(PowerLinear, Slope())

if __name__ == "__main__":
    net = synsim.mlp([64, 40, 10], p=0.5, layer=PowerLinear, seed=1)
    rule = synsim.PresynapticSGD(net, lr=0.2, p_up=0.05, p_down=0.01, g_lim=1e-4)
    data = synsim.data.load("digits")
    x, y = data.x_train.flatten(1) / 16, data.y_train
    for _ in range(500):
        rule.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        rule.step()
    print(f"accuracy {float(synsim.meters.accuracy(net, x, y)):.3f}, energy {float(synsim.meters.energy(net)):.1f}")
