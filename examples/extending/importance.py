"""An importance of one's own: how much the mean loss rises when a parameter is set to zero, to first order.

Registered, its name is known to `synsim.importance.make`, to `Protection` and to `synsim.attach`.
"""

import torch

import synsim
from synsim.importance import Importance, register
from synsim.inputs import labelled
from synsim.training import Protection, fit


@register
class Removal(Importance):
    """abs(θ · ∂L/∂θ) of every parameter θ, with all releases at their mean (Molchanov et al. 2017 prune by it)."""

    name = "removal"

    def estimate(self, net, x, y=None, *, head=None):
        images, y = labelled(net, x, y)
        parameters = dict(net.named_parameters())
        with synsim.expected(net), torch.enable_grad():
            loss = synsim.cross_entropy(net(images[0 : len(images)]), y)
            slopes = torch.autograd.grad(loss, list(parameters.values()))
        return {name: (p * slope).detach().abs() for (name, p), slope in zip(parameters.items(), slopes, strict=True)}


def train(strength):
    """Two tasks of the split digits; the accuracy on both after each."""
    tasks = synsim.tasks.split(synsim.data.load("digits"), heads="shared")[:2]
    net = synsim.mlp([64, 20, 2], seed=1)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    protection = Protection(synsim.importance.make("removal"), synsim.consolidation.make("penalty", strength=strength))
    return net, fit(net, rule, tasks, seeds=[1], epochs=2, batch=20, protection=protection).accuracy[0]


if __name__ == "__main__":
    for strength in (0.0, 300.0):
        print(f"strength {strength:g}:", train(strength)[1], sep="\n")
