"""
What is the energy spent on?
============================

ATP molecules per image, by what they are spent on, if a rate of 1 is one spike and a strength of 1 one
vesicle's worth of channels (`AtpConstants` says where the constants come from, and what they are worth). The
spike is scaled down: a cortical axon has some 8,000 boutons, a unit here a hundred synapses.
"""

import dataclasses

import numpy as np

import synsim
from synsim import plots
from synsim.meters import RODENT_CORTEX

digits = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")[0]
constants = dataclasses.replace(RODENT_CORTEX, spike=RODENT_CORTEX.spike * 100 / 8000)
budgets = {}
for name, p, step in (("plastic", 0.25, 0.07), ("reliable", 1.0, 0.0), ("fixed release", 0.25, 0.0)):
    net = synsim.mlp([64, 100, 100, 10], p=p)
    rule = synsim.PresynapticSGD(net, lr=0.1, p_up=step, p_down=step, g_lim=1e-3, weight_decay=0.001)
    synsim.training.fit(net, rule, [digits], seeds=[0], epochs=10, batch=20)
    budgets[name] = synsim.meters.atp_budget(net, digits.test, constants=constants)
with plots.style():
    made, (ax,) = plots.figure(width=5.5, height=2.0)
    left = np.zeros(len(budgets))
    for number, term in enumerate(next(iter(budgets.values()))):
        spent = np.array([float(budget[term]) for budget in budgets.values()])
        ax.barh(list(budgets), spent, left=left, color=plots.COLOURS[number], label=term)
        left += spent
    ax.set(xlabel="ATP molecules per image")
    plots.legend_over(made, ax)
made
