"""A consolidation of one's own: the step of a parameter shrinks with the root of its importance, and never grows again.

Registered, its name is known to `synsim.consolidation.make`, to `Protection` and to `synsim.attach`.
"""

import torch

import synsim
from synsim.consolidation import Consolidation, register
from synsim.training import Protection, fit


@register
class SlowDown(Consolidation):
    """A parameter of importance I moves at 1 / (1 + strength · √(ΣI)) of its step; I is 1 on average over a tensor."""

    name = "slow-down"

    def __init__(self, strength=1.0):
        super().__init__()
        self.strength, self.total = strength, {}

    def remember(self, net, importance):
        for name, value in importance.items():
            relative = value / value.mean().clamp(min=1e-30)
            self.total[name] = self.total.get(name, torch.zeros_like(value)) + relative

    def rate(self, net):
        return {name: 1 / (1 + self.strength * total.sqrt()) for name, total in self.total.items()}

    def state_dict(self):
        return dict(self.total)

    def load_state_dict(self, state):
        self.total = dict(state)


def train(strength):
    """Two tasks of the split digits; the accuracy on both after each."""
    tasks = synsim.tasks.split(synsim.data.load("digits"), heads="shared")[:2]
    net = synsim.mlp([64, 20, 2], seed=1)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    protection = Protection(synsim.importance.make("ewc"), synsim.consolidation.make("slow-down", strength=strength))
    return net, fit(net, rule, tasks, seeds=[1], epochs=2, batch=20, protection=protection).accuracy[0]


if __name__ == "__main__":
    for strength in (0.0, 100.0):
        print(f"strength {strength:g}:", train(strength)[1], sep="\n")
