"""
How does an image travel through a spiking network?
===================================================

Pixels become spikes, each spike is released or not at each synapse on its own, membranes leak and sum, and the most excited
output says which digit it was.
"""
import synsim
from synsim import plots
from synsim.spiking import FastSigmoid, spiking_mlp

digits = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")[0]
neurons = {"threshold": 0.3, "gain": 3.0, "surrogate": FastSigmoid(10.0)}
net = spiking_mlp([64, 50, 10], p=0.25, window=50.0, rate=200.0, scope="event", **neurons)  # ms, Hz
rule = synsim.PresynapticSGD(net, lr=0.03, p_up=0.07, p_down=0.07, g_lim=1e-3)
synsim.training.fit(net, rule, [digits], seeds=[0], epochs=4, batch=20)
record = net.run(net.encode(digits.test[0:1]), record=True)
