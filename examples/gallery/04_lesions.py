"""
Which synapses can be spared?
=============================

Synapses are removed in an order, and the accuracy of what is left is measured: those that release least first,
the weakest first, or any.
"""

import numpy as np

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
net = synsim.mlp([64, 100, 100, 10], p=0.25, replicas=3)
rule = synsim.PresynapticSGD(net, lr=0.05, p_up=0.07, p_down=0.07, g_lim=1e-3, weight_decay=0.01)
synsim.training.fit(net, rule, [digits], seeds=[0, 1, 2], epochs=10, batch=20)
orders, fractions = ["p", "weight", "random"], np.linspace(0, 1, 21)
removed, curves = synsim.lesion_curves(net, digits.test, digits.test.y, orders=orders, fractions=fractions)
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    for number, (order, accuracy) in enumerate(curves.items()):
        plots.curve(ax, 100 * removed, 100 * accuracy, f"by {order}" if order != "random" else "any", number)
    ax.set(xlabel="synapses removed (%)", ylabel="test accuracy (%)")
    ax.legend()
made
