"""
Which synapses become reliable?
===============================

A synapse whose gradient is large releases more often after the step, all others less often. After some epochs
most synapses have become silent, and a few reliable: these carry the function.
"""

import torch

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
net = synsim.mlp([64, 100, 100, 10], p=0.25, replicas=3)
rule = synsim.PresynapticSGD(net, lr=0.05, p_up=0.07, p_down=0.07, g_lim=1e-3, weight_decay=0.01)


def shares():
    """Share of the synapses per bin of p, [replica, bin]."""
    p = torch.cat([layer.p.flatten(1) for layer in synsim.synapses(net).values()], 1)
    return torch.stack([torch.histc(each, 20, 0.0, 1.0) for each in p]) / p.shape[1]


first = shares()
synsim.training.fit(net, rule, [digits], seeds=[0, 1, 2], epochs=10, batch=20)
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    centres = torch.linspace(0.025, 0.975, 20)
    plots.histogram(ax, centres, first, "before", 6)
    plots.histogram(ax, centres, shares(), "after ten epochs", 0)
    ax.set(xlabel="release probability p", ylabel="share of the synapses", yscale="log")
    ax.legend()
made
