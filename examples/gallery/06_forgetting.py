"""
Does a network remember?
========================

Four pixel orders of the digits, one after the other, without protection and with elastic weight consolidation:
the accuracy on every task (columns) after every task (rows). What presynaptic consolidation keeps of MNIST is
in the reproduction's tables.
"""

import torch

import synsim
from synsim import plots
from synsim.training import Protection, fit

tasks = synsim.tasks.permuted(synsim.data.load("digits"), tasks=4)
names = [str(number) for number in range(1, 5)]
with plots.style():
    made, axes = plots.figure(2, width=6.0, height=2.6)
    for ax, strength in zip(axes, [0.0, 10.0], strict=True):
        net = synsim.mlp([64, 100, 10], p=1.0, replicas=3)
        ewc = Protection(
            synsim.importance.make("fisher", labels="exact"),
            synsim.consolidation.make("penalty", strength=strength),
            reset_optimiser=True,
        )
        adam = torch.optim.Adam(net.parameters(), lr=1e-3)
        accuracy = fit(net, adam, tasks, seeds=[0, 1, 2], epochs=8, batch=50, protection=ewc).accuracy.mean(0)
        texts = [[f"{100 * value:.0f}" for value in row] for row in accuracy]
        plots.heatmap(ax, accuracy, names, names, texts, limits=(0.0, 1.0))
        title = f"{'EWC' if strength else 'no protection'}: {100 * accuracy[-1].mean():.0f} % at the end"
        ax.set(title=title, xlabel="tested on task", ylabel="after")
made
