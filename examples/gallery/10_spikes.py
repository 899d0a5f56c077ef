"""
How does an image travel through a spiking network?
===================================================

Pixels become spikes, each spike is released or not at each synapse on its own, membranes leak and sum, and the output
that is excited most says which digit it was.
"""

import torch

import synsim
from synsim import plots
from synsim.spiking import FastSigmoid, spiking_mlp

digits = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")[0]
neurons = {"threshold": 0.3, "gain": 3.0, "surrogate": FastSigmoid(10.0)}
net = spiking_mlp([64, 50, 10], p=0.25, window=50.0, rate=200.0, scope="event", **neurons)  # ms, Hz
rule = synsim.PresynapticSGD(net, lr=0.03, p_up=0.07, p_down=0.07, g_lim=1e-3)
synsim.training.fit(net, rule, [digits], seeds=[0], epochs=4, batch=20)
with torch.no_grad():
    record = net.run(net.encode(digits.test[0:1]))
with plots.style():
    made, axes = plots.figure(2, width=6.5, height=3.0)
    plots.raster(axes[0], {name: spikes[:, 0] for name, spikes in record.spikes.items()}, dt=net.dt)
    plots.membranes(axes[1], record.membranes["output"][:, 0], dt=net.dt, neurons=range(10))
    axes[1].set(title=f"outputs; the digit is a {int(digits.test.y[0])}")
made
