"""
Is it curvature, or descent on neurons?
=======================================

KFAC takes the curvature of the loss into account; FOOF only asks each neuron's inputs to change its output as
wanted. If curvature were what helps, KFAC would be ahead. Rates and dampings: the best of small grids, on other
seeds.
"""

import torch

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
rules = {
    "SGD": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
    "Adam": lambda net: torch.optim.Adam(net.parameters(), lr=3e-3),
    "KFAC": lambda net: synsim.KFAC(net, 2.0, 1.0, period=10, warmup=10),
    "FOOF": lambda net: synsim.FOOF(net, 30.0, 10.0, period=10, warmup=10),
}
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    for number, (name, rule) in enumerate(rules.items()):
        net = synsim.mlp([64, 100, 100, 10], p=1.0, replicas=3)
        run = {"seeds": [0, 1, 2], "epochs": 10, "batch": 50}
        losses = synsim.training.fit(net, rule(net), [digits], **run).per_epoch["loss"][:, 0]
        plots.curve(ax, torch.arange(1, 11), losses, name, number)
    ax.set(xlabel="epoch", ylabel="training loss", yscale="log")
    ax.legend()
made
