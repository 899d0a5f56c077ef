"""
What does a bit cost?
=====================

Bits about the class that reach the output, for a unit of synaptic energy Σ abs(w̄): along training, for
synapses that learn when to fail, that never fail, and that always fail as often.
"""

import numpy as np

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
kinds = {"plastic": (0.25, 0.07), "reliable": (1.0, 0.0), "fixed release": (0.25, 0.0)}
with plots.style():
    made, (ax,) = plots.figure(width=4.5)
    for number, (name, (p, step)) in enumerate(kinds.items()):
        net = synsim.mlp([64, 100, 100, 10], p=p, replicas=3)
        constants = {"p_up": step, "p_down": step, "g_lim": 1e-3, "weight_decay": 0.01}
        rule = synsim.PresynapticSGD(net, lr=0.05, **constants)
        measured = []

        def measure(moment, net=net, measured=measured):
            measured.append(synsim.meters.information_per_energy(net, digits.test, digits.test.y))

        synsim.training.fit(net, rule, [digits], seeds=[0, 1, 2], epochs=24, batch=20, on_epoch=measure)
        plots.curve(ax, np.arange(1, 25), 1000 * np.stack(measured, 1), name, number)
    ax.set(xlabel="epoch", ylabel="10⁻³ bits per energy")
    ax.legend()
made
