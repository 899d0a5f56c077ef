"""
Which constants work?
=====================

Every constant of a rule may have a value per replica, so that a grid of settings with three seeds each is one
program.
"""

import synsim
from synsim import plots

digits = synsim.tasks.single(synsim.data.load("digits"))[0]
steps, limits = [0.01, 0.03, 0.1, 0.3], [1e-4, 1e-3, 1e-2]
sweep = synsim.Sweep({"p_up": steps, "g_lim": limits}, seeds=[0, 1, 2])
net = synsim.mlp([64, 50, 10], p=0.25, replicas=sweep)
constants = {"p_up": sweep.column("p_up"), "p_down": sweep.column("p_up"), "g_lim": sweep.column("g_lim")}
rule = synsim.PresynapticSGD(net, lr=0.05, weight_decay=0.01, **constants)
synsim.training.fit(net, rule, [digits], seeds=sweep.seeds, epochs=8, batch=20)
bits = synsim.meters.information_per_energy(net, digits.test, digits.test.y)
mean = 1000 * bits.reshape(len(steps), len(limits), 3).mean(-1)
with plots.style():
    made, (ax,) = plots.figure(width=4.0)
    texts = [[f"{value:.2f}" for value in row] for row in mean.tolist()]
    image = plots.heatmap(
        ax,
        mean,
        [f"{s:g}" for s in steps],
        [f"{g:g}" for g in limits],
        texts,
        limits=(float(mean.min()), float(mean.max())),
    )
    ax.set(xlabel="g_lim", ylabel="p_up = p_down", title="10⁻³ bits per energy")
made
