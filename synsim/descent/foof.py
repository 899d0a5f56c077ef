"""FOOF: gradient descent on the outputs of neurons.

Source: Benzing 2022, "Gradient descent on neurons and its link to approximate second-order optimization" (ICML;
chapter 5 of the thesis), eq. 5.5 and algorithm 1.
"""

from torch import Tensor, nn

from synsim._checks import Number
from synsim._doors import typed
from synsim.descent.averages import Averaging
from synsim.descent.blocks import Block
from synsim.descent.factors import inverse
from synsim.descent.gradient import Gradient


class FOOF(Averaging):
    """Fast first-order optimisation: W ← W − η G (Σ_A + λ I)⁻¹, with the averaged Gram matrix Σ_A of a layer's inputs.

    The weights move so that the outputs of a layer move along their gradient, as far as the damping λ allows. For few
    rows N the product is taken as Eᵀ (A P), which costs N (I² + I O) in place of O I². With momentum on the raw
    gradient, a penalty, clipped gradients or release masks the full product G P is needed.

    A layer with a bias has one input more, which is always 1. In stochastic layers of scope "batch" G is the gradient
    of the expected strengths, masks and 1/p in it, and Σ_A is made of the inputs of the pass.

    Args:
        net: the network.
        lr: learning rate η. This and every other constant may be a number or one per replica ([R]).
        damping: λ > 0.
        average: m of the exponential average of Σ_A; 0: the latest pass alone.
        period: T, steps from one inversion to the next.
        collect: S ≤ T, so many steps ahead of an inversion feed the averages; None: all.
        warmup: batches that `warm_up` takes in, as `fit` does before the first step; 0: begin with the first pass.
        momentum: of the raw gradient, ahead of the preconditioner (heavy ball).
        weight_decay: ρ; W ← (1 − η ρ) W, beside the preconditioned step.
        scale: "sum": Σ_A is summed over the batch, as the published constants have it, so that λ goes with the batch
            size; "mean": it is averaged, and λ does not.
        lr_rest: rate of gradient descent of parameters outside linear and convolutional layers; None: there are none.
        release: "pass": Σ_A is that of the inputs; "mean": with what release adds to it on average, diag((1/p − 1)
            Σ a²), meaned over outputs: a damping made by release itself.

    Raises:
        TypeError: if `net` is not a module.
        ValueError: if a constant does not fit, the network has no linear or convolutional layer, two of them share a
            parameter, or it has other parameters and `lr_rest` is missing.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=1.0)
        >>> rule = synsim.FOOF(net, lr=1.0, damping=1.0, warmup=0)
        >>> with rule.watch():
        ...     logits = net(torch.eye(4))
        >>> rule.backward(synsim.cross_entropy(logits, torch.tensor([0, 1, 0, 1])), logits)
        >>> rule.step()
    """

    @typed
    def __init__(
        self,
        net: nn.Module,
        lr: Number,
        damping: Number,
        *,
        average: Number = 0.95,
        period: int = 100,
        collect: int | None = None,
        warmup: int = 50,
        momentum: Number = 0.0,
        weight_decay: Number = 0.0,
        scale: str = "sum",
        lr_rest: Number | None = None,
        release: str = "pass",
    ) -> None:
        self._set(period, collect, warmup, scale, release)
        super().__init__(
            net,
            {
                "lr": lr,
                "damping": damping,
                "average": average,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "lr_rest": lr_rest,
            },
        )

    def _inverted(self, block: Block) -> dict[str, Tensor]:
        (inputs,) = self._averages(block)
        return {"inputs_inverse": inverse(inputs, self._constant(block, "damping"), block.name, self.steps)}

    def _move(self, block: Block, gradient: Gradient) -> Gradient:
        return gradient.times(None, self.state[block.weight]["inputs_inverse"])
