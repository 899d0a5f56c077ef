"""Learning without back-propagation: a three-factor rule that fills the gradients that back-propagation would.

The strength from neuron i to the hidden neuron j moves by the product of three factors, each of them at the synapse:

1. an eligibility trace e_ji of what synapse ji released. It decays with the membrane of j and ends where j is reset:
   e ← α e before the threshold, then e ← (e + x_i k_ji / (N p_ji)) (1 − s_j), with k_ji of N sites released; with a
   reset that subtracts there is no last factor;
2. the surrogate derivative ψ of the membrane of j: whether j was near its threshold θ;
3. the error of the readout, broadcast through fixed weights B: L_j = Σ_c B_jc δ_c, where δ_c is the gradient of the
   loss with respect to the current into output c, which that output knows.

The estimate of ∂L/∂w̄_ji is Σ_t L_j ψ(u_j − θ) α e_ji: the dependence of j's membrane on w̄_ji is exact, that of the
loss on j's spikes is replaced by the broadcast. Nothing passes backward through a synapse. The strengths of the readout
itself have their exact gradient. Mask and 1 / p are in the estimate as they are in that of back-propagation, so
`PresynapticSGD` moves w̄ and p by it unchanged.

With the readout "mean" δ_c is the error of the whole window (softmax − target) times a factor that only depends on
the time left: the third factor comes once, at the end of an image, and each synapse sums ψ α e with these factors until
then. Other readouts take δ_c at each step. What is computed here is the same sum over time in another order, which
needs no trace per synapse and example.

Sources:
    Broadcast through fixed random weights: Lillicrap, Cownden, Tweed & Akerman 2016, Nat Commun 7: 13276; Nøkland
    2016, NeurIPS; Samadi, Lillicrap & Tweed 2017, Neural Computation 29: 578-602 (spiking neurons).
    Eligibility, surrogate derivative, learning signal: Bellec et al. 2020, Nat Commun 11: 3625 (e-prop).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from synsim import streams
from synsim._checks import require
from synsim._doors import typed
from synsim.losses import replica_cross_entropy
from synsim.networks import replicas_of
from synsim.spiking.network import Record, SpikingMLP
from synsim.spiking.neurons import Leaky, leaky, lif
from synsim.spiking.readout import read


class LocalMLP(SpikingMLP):
    """A spiking network whose backward pass is the three-factor rule; all else is that of the network it is made of.

    `loss.backward()` fills `.grad` with the local estimates, so `PresynapticSGD`, `training.fit` and consolidation work
    as they are. An importance made of gradients sees the local ones. Encoder and layers are those of `net`, not copies.
    The feedback stays what it is when `synsim.seed` restarts the streams.

    Attributes:
        feedback: buffers "feedback_1", …: B of each hidden population, [H, C] or [R, H, C].

    Args:
        net: the network.
        feedback: B by the name of the population ("hidden 1", …), or None for fixed random ones (`random_feedback`).

    Raises:
        ValueError: if the feedback does not fit.
    """

    @typed
    def __init__(self, net: SpikingMLP, feedback: Mapping[str, Tensor] | None = None) -> None:
        require(
            len(net.recurrent) == 0,
            "the three-factor rule knows networks without recurrence: an error that is broadcast does not go back "
            "through a population's own synapses. Train this one by back-propagation, or leave out recurrent=True.",
        )
        super().__init__(
            net.encoder,
            net._synapses(),
            net.neurons,
            net.output or Leaky(net.neurons.tau),  # not used where the last population fires
            readout=net.readout,
            surrogate=net.surrogate,
            dt=net.dt,
            gain=net.gain,
            short_term=net.short_term,
        )
        self.training = net.training
        for name, value in _checked(net, random_feedback(net) if feedback is None else feedback).items():
            self.register_buffer(_buffer(name), value)

    def feedback(self) -> dict[str, Tensor]:
        """B by the name of the population.

        Returns:
            "hidden 1", …: [H, C] or [R, H, C].
        """
        return {name: self.get_buffer(_buffer(name)) for name in self.populations()[1:-1]}

    def _through(self, spikes: Tensor, *, record: bool) -> Record:
        if not torch.is_grad_enabled():
            return super()._through(spikes, record=record)
        *hidden, last = self._synapses()
        fired, membranes, now = {"input": spikes}, {}, spikes.detach()
        broadcast = None
        for layer, (name, weights) in zip(hidden, self.feedback().items(), strict=True):
            s, v, _ = lif(self._transmit(layer, now), self.neurons, self.dt, surrogate=self.surrogate, membrane=record)
            fired[name], now = s, s.detach()
            if v is not None:
                membranes[name] = v
            sent = s @ (weights if weights.ndim == 2 else weights.unsqueeze(-3))
            broadcast = sent if broadcast is None else broadcast + sent
        current = self._transmit(last, now)
        if broadcast is not None:
            # Exactly 0, but the error at each output goes back through B to the spikes of all hidden populations.
            current = current + (broadcast - broadcast.detach())
        if self.output is not None:
            series = membranes["output"] = leaky(current, self.output, self.dt)
        else:
            series, v, _ = lif(current, self.neurons, self.dt, surrogate=self.surrogate, membrane=record)
            fired["output"] = series
            if v is not None:
                membranes["output"] = v
        logits = read(self.readout, series) * self.gain
        return Record(fired, membranes, logits) if record else Record({}, {}, logits)


@typed
def random_feedback(net: SpikingMLP, scale: float = 1.0) -> dict[str, Tensor]:
    """Fixed random feedback, from U(±scale / √H) with H the width of the last hidden population, as the readout starts.

    The values are a function of the network's seeds and the name of the population, those of replicas apart.

    Args:
        net: the network, seeded already.
        scale: 1 broadcasts errors as large as back-propagation does through a readout that has not learned.

    Returns:
        "hidden 1", …: [H, C] or [R, H, C].

    Raises:
        ValueError: if the scale is not positive.
    """
    require(0 < scale < math.inf, f"scale must be positive and finite, got {scale}.")
    *hidden, last = net._synapses()
    bound = scale / math.sqrt(last.in_features)
    found = {}
    for name, layer in zip(net.populations()[1:-1], hidden, strict=True):
        keys = streams.keys("init", layer.seeds, f"feedback {name}")
        drawn = streams.uniform(keys, layer.out_features * last.out_features)
        lead = () if layer.replicas is None else (layer.replicas,)
        shaped = ((2 * drawn - 1) * bound).reshape(*lead, layer.out_features, last.out_features)
        found[name] = shaped.to(last.p)
    return found


@typed
def symmetric_feedback(net: SpikingMLP) -> dict[str, Tensor]:
    """Feedback through the present expected strengths: their product from the population to the output.

    For the last hidden population that is the transposed readout, and the estimate is then the gradient of
    back-propagation: exactly so where the strengths transmitted are the expected ones (p = 1, the mean field, release
    per spike). It does not follow the strengths as they learn.

    Args:
        net: the network.

    Returns:
        "hidden 1", …: [H, C] or [R, H, C].
    """
    names, found = net.populations()[1:-1], {}
    product: Tensor | None = None
    for name, layer in zip(reversed(names), reversed(net._synapses()), strict=False):
        own = layer.expected_strength.detach().transpose(-1, -2)
        product = own.clone() if product is None else own @ product
        found[name] = product
    return {name: found[name] for name in names}


@typed
def local_gradients(net: SpikingMLP, x: Tensor, y: Tensor, feedback: Mapping[str, Tensor] | None = None) -> Tensor:
    """Losses of one batch, and local estimates of their gradients in `.grad` of every parameter, like `backward`.

    Args:
        net: the network.
        x: images, pixels in [0, 1], [B, I] or [R, B, I].
        y: labels [B] or [R, B].
        feedback: B by the name of the population; None: that of the network if it has one, else random.

    Returns:
        Mean cross-entropy in nats: a number, or [R].
    """
    local = net if feedback is None and isinstance(net, LocalMLP) else LocalMLP(net, feedback)
    losses = replica_cross_entropy(local(x), y)
    losses.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    return losses.detach()


def _buffer(name: str) -> str:
    return name.replace("hidden ", "feedback_")


def _checked(net: SpikingMLP, feedback: Mapping[str, Tensor]) -> dict[str, Tensor]:
    *hidden, last = net._synapses()
    names = net.populations()[1:-1]
    require(
        sorted(feedback) == sorted(names),
        f"feedback must name the hidden populations {', '.join(names)}, got {', '.join(feedback) or 'none'}.",
    )
    lead = () if replicas_of(net) is None else (replicas_of(net),)
    for name, layer in zip(names, hidden, strict=True):
        shape = [*lead, layer.out_features, last.out_features]
        require(
            list(feedback[name].shape) == shape,
            f"feedback to {name!r} must be {shape}, got {list(feedback[name].shape)}.",
        )
    return {name: feedback[name].detach().to(last.p) for name in names}
