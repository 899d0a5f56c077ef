"""
Which importance protects best?
===============================

One penalty, fed by importances of different kinds, for the same three tasks. Strengths are not comparable
between importances: each is tried at several, as replicas of one program.
"""

import torch

import synsim
from synsim import plots
from synsim.training import Protection, fit

tasks = synsim.tasks.permuted(synsim.data.load("digits"), tasks=3)
sweep = synsim.Sweep({"strength": [0.1, 1.0, 10.0, 100.0]}, seeds=[0, 1, 2])
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    for number, name in enumerate(["fisher", "si", "mas", "uniform"]):
        net = synsim.mlp([64, 50, 10], p=1.0, replicas=sweep)
        penalty = synsim.consolidation.make("penalty", strength=sweep.column("strength"))
        protection = Protection(synsim.importance.make(name), penalty, reset_optimiser=True)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3)
        run = {"epochs": 8, "batch": 50}
        accuracy = fit(net, adam, tasks, seeds=sweep.seeds, protection=protection, **run).accuracy
        at_the_end = accuracy[:, -1].mean(-1).reshape(4, 3).T  # [seed, strength]
        plots.curve(ax, [0.1, 1.0, 10.0, 100.0], 100 * at_the_end, name, number)
    ax.set(xscale="log", xlabel="strength of the penalty", ylabel="accuracy on all tasks (%)")
    ax.legend()
made
