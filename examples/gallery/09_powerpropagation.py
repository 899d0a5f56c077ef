"""
Do the rich get richer?
=======================

With weights θ = φ·abs(φ)^(α−1), what is large learns faster and what is small slower. Networks pruned after
training, without any retraining, then keep their accuracy with far fewer weights.
"""

import torch

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
sweep = synsim.Sweep({"alpha": [1.0, 2.0, 3.0]}, seeds=[0, 1, 2])
net = synsim.mlp([64, 100, 100, 10], p=1.0, replicas=sweep)
sgd = torch.optim.SGD(net.parameters(), lr=0.1)
rule = synsim.Powerpropagation(sgd, sweep.column("alpha"), net=net)
synsim.training.fit(net, rule, [digits], seeds=sweep.seeds, epochs=20, batch=20)
shares = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0]
keep, accuracy = synsim.pruning_curve(net, digits.test, digits.test.y, keep=shares)
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    for number, alpha in enumerate([1.0, 2.0, 3.0]):
        plots.curve(ax, 100 * keep, 100 * accuracy[3 * number : 3 * number + 3], f"α = {alpha:g}", number)
    ax.set(xscale="log", xlabel="weights kept (%)", ylabel="test accuracy (%)")
    ax.legend()
made
