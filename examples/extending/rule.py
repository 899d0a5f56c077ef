"""A rule of one's own: Shampoo (Gupta, Koren & Singer 2018), whose state is two square matrices per layer.

An optimiser of torch is a rule. All that a loop must know: `step` takes `penalty`, and `state_dict` says more.
"""

import torch

import synsim
from synsim.training import Protection, fit


class Shampoo(torch.optim.Optimizer):
    """Steps L^(-1/4) G R^(-1/4), with L and R the sums of G Gᵀ and Gᵀ G; a penalty's gradient enters neither."""

    def __init__(self, net, lr):
        super().__init__(net.parameters(), {"lr": lr})
        self.names = {parameter: name for name, parameter in net.named_parameters()}
        self.reset()

    def reset(self):
        """Forget the matrices, at the start of a task (`Protection(reset_optimiser=True)`)."""
        self.sums = {name: [torch.eye(n) * 1e-4 for n in weight.shape] for weight, name in self.names.items()}

    @torch.no_grad()
    def step(self, closure=None, *, penalty=None):
        for group in self.param_groups:
            for weight in (parameter for parameter in group["params"] if parameter.grad is not None):
                name, gradient = self.names[weight], weight.grad
                left, right = self.sums[name]
                left += gradient @ gradient.T
                right += gradient.T @ gradient
                move = root(left) @ gradient @ root(right)
                weight -= group["lr"] * (move + (penalty or {}).get(name, 0.0))

    def state_dict(self):
        return {**super().state_dict(), "sums": self.sums}

    def load_state_dict(self, state):
        self.sums = state["sums"]
        super().load_state_dict(state)


def root(matrix):
    """The matrix to the power −1/4."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=1e-6) ** -0.25 @ vectors.T


def train(store=None, stop=None):
    """Two protected tasks, resumed from `store` where `stop` ended them: the network, its rule, the accuracies."""
    tasks = synsim.tasks.split(synsim.data.load("digits"), heads="shared")[:2]
    net = synsim.mlp([64, 20, 2], seed=1)
    rule = Shampoo(net, lr=0.05)
    protection = Protection(synsim.importance.make("ewc"), synsim.consolidation.make("penalty", strength=1.0))
    history = fit(net, rule, tasks, seeds=[1], epochs=2, batch=20, protection=protection, store=store, stop=stop)
    return net, rule, history.accuracy[0]


if __name__ == "__main__":
    print(train()[2])
