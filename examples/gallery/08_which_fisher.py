"""
Which Fisher information is it?
===============================

Four numbers go by that name. The exact one takes all labels, weighted by what the network believes; the sampled
one draws them; the empirical one takes those of the data; the batched one squares the mean gradient of a batch,
and is another thing.
"""

import torch

import synsim
from synsim import importance, plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
net = synsim.mlp([64, 50, 10], p=1.0)
adam = torch.optim.Adam(net.parameters(), lr=1e-3)
synsim.training.fit(net, adam, [digits], seeds=[0], epochs=3, batch=20)


def measured(name, **options):
    """All entries of an importance, as one vector."""
    values = importance.make(name, **options).estimate(net, digits.train, digits.train.y)
    return torch.cat([value.flatten() for value in values.values()])


exact = measured("fisher", labels="exact")
with plots.style():
    made, axes = plots.figure(3, width=7.0, height=2.4)
    others = [("fisher", {"labels": "sampled"}), ("fisher", {"labels": "empirical"}), ("fisher-batched", {})]
    for ax, (name, options) in zip(axes, others, strict=True):
        ax.loglog(exact, measured(name, **options), ".", markersize=1, color=plots.COLOURS[0], rasterized=True)
        ax.plot([1e-9, 1e-2], [1e-9, 1e-2], color="0.5", linewidth=0.6)
        ax.set(xlabel="exact", ylabel=options.get("labels", "batched"), xlim=(1e-8, 1e-2), ylim=(1e-8, 1e-2))
made
