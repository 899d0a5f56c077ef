"""
What does a failing synapse transmit?
=====================================

With probability p it releases and transmits m = w̄ / p, else nothing. The mean is w̄ whatever p may be; what
changes is how far single passes lie from it. Here a neuron sums a hundred such synapses.
"""

import torch

import synsim
from synsim import plots

probabilities = [0.1, 0.25, 1.0]
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    for number, p in enumerate(probabilities):
        net = synsim.mlp([100, 1], p=p)
        with torch.no_grad():
            net[0].weight.fill_(0.01)
            summed = torch.stack([net(torch.ones(1, 100)).squeeze() for _ in range(500)])
        shares, edges = torch.histogram(summed, bins=41, range=(0.0, 2.05))
        plots.histogram(ax, (edges[1:] + edges[:-1]) / 2, shares[None] / 500, f"p = {p:g}", number)
    ax.axvline(1.0, color="0.6", linewidth=0.6)
    ax.set(xlabel="what the neuron is given in a pass (mean: 1)", ylabel="share of the passes")
    ax.legend()
made
