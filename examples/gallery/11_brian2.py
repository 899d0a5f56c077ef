"""
Does another simulator agree?
=============================

The same network in Brian2, which writes down its equations and solves them by itself. Without releases both
agree spike by spike; with releases single runs differ (thin lines: Brian2's), and their means agree.
"""

import torch

import synsim
from synsim import plots
from synsim.spiking import brian, spiking_mlp

digits = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")[0]
net = spiking_mlp([64, 30, 10], p=0.5, window=50.0, rate=200.0, scope="event", threshold=0.2)
trains = net.encode(digits.test[0:1])  # [time, image, neuron]
runs = brian.run(brian.to_brian2(net, target="numpy"), trains, repeats=40, progress=False)
theirs = torch.as_tensor(runs.membranes["output"].sel(image=0, neuron=0).values)  # [run, time]
with torch.no_grad():
    ours = net.run(trains.expand(-1, 40, -1).contiguous()).membranes["output"][:, :, 0].T
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    ax.plot(theirs[:12].T, color="0.8", linewidth=0.5)
    plots.curve(ax, torch.arange(50), ours, "synsim, 40 runs", 0)
    plots.curve(ax, torch.arange(50), theirs, "Brian2, 40 runs", 1)
    ax.set(xlabel="time (ms)", ylabel="membrane of an output")
    ax.legend()
made
