"""Small networks as users write them, each with data, in float64.

`ZOO` maps a name to a function without arguments that builds everything anew, always with the same numbers:

    animal = ZOO["gru"]()
    animal.net, animal.x, animal.y      # N examples; labels [N], [N, T] for one label per token, or [R, N]
    animal.options                      # keyword arguments of whatever takes net, x and y: {} or {"head": 1}

`KIND[name]` says what a test may need to know without building it: "plain" (no stochastic layer), "stochastic", or
"control"; `TRAITS[name]` is a set out of "tokens" (integer inputs), "per token" (logits [N, T, C]), "replicas",
"heads", "one output", "signed" (inputs below 0, so no rates), "keeps" (forward writes attributes or buffers), and
"slow path" (torch.func cannot go there: gradients are taken one example at a time, with a warning).

Animals compute each example by itself; those in `MIXED`, which is built alike, do not. All trained parameters reach the
output of at least one example, but for the heads that are not asked and the inside of "checkpointed, reentrant", which
`torch.autograd.grad` cannot see.

    @pytest.mark.parametrize("name", ZOO)
    def test_something(name):
        net, x, y, options = ZOO[name]()
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.utils.checkpoint import checkpoint

import synsim
import synsim.controls
import synsim.networks
from synsim.dropout import StreamDropout

N = 5
"""Examples of every animal."""
CLASSES = 3


class Animal(NamedTuple):
    """A network with data."""

    net: nn.Module
    x: Tensor
    y: Tensor
    options: dict[str, Any]


Build = Callable[[], Animal]
ZOO: dict[str, Build] = {}
MIXED: dict[str, Build] = {}
KIND: dict[str, str] = {}
TRAITS: dict[str, set[str]] = {}


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def fixed(net: nn.Module, seed: int = 2) -> nn.Module:
    """The net in float64 and evaluation mode, with parameters that do not depend on torch's generator."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double().eval()
    with torch.no_grad():
        for w in net.parameters():
            width = max(1, w[0].numel()) if w.ndim else 1
            w.copy_(torch.randn(w.shape, generator=generator, dtype=torch.float64) / width**0.5)
    return net


def spread(net: nn.Module, seed: int = 3) -> nn.Module:
    """Release probabilities that differ between synapses."""
    generator = torch.Generator().manual_seed(seed)
    for layer in synsim.synapses(net).values():
        layer.p.uniform_(0.3, 0.9, generator=generator)
    return net


def labels(*shape: int, classes: int = CLASSES) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(4))


def animal(name: str, *traits: str, kind: str = "plain", mixed: bool = False) -> Callable[[Build], Build]:
    """Put a builder into the zoo; it may leave the options out."""

    def add(build: Callable[[], tuple[Any, ...]]) -> Build:
        def whole() -> Animal:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                net, x, y, *options = build()
            return Animal(net, x, y, options[0] if options else {})

        (MIXED if mixed else ZOO)[name] = whole
        KIND[name], TRAITS[name] = kind, set(traits)
        return whole

    return add


def simple(name: str, forward: Callable[..., Tensor], *traits: str, x: tuple[int, ...] = (N, 6), mixed: bool = False,
           **modules: Callable[[], nn.Module]) -> None:  # fmt: skip
    """An animal that is a few modules and one function of them and the input."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for key, make in modules.items():
                self.add_module(key, make())

        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x)

    Net.__name__ = Net.__qualname__ = name.title().replace(" ", "").replace("-", "")
    animal(name, "signed", *traits, mixed=mixed)(lambda: (fixed(Net()), numbers(*x), labels(N)))


def linear(inputs: int, outputs: int, **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs, **options)


SMALL: dict[str, Callable[[], nn.Module]] = {"a": linear(6, 5), "b": linear(5, 6), "o": linear(6, CLASSES)}


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES))


# Plain layers in a row.


@animal("mlp", "signed")
def _mlp():
    return fixed(nn.Sequential(nn.Linear(6, 5), nn.ReLU(True), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))), *_data()


def _data(*shape: int, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    return numbers(N, *(shape or (6,))), labels(N, classes=classes)


@animal("conv2d", "signed")
def _conv2d():
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return fixed(nn.Sequential(*layers)), *_data(2, 4, 5)


@animal("images flattened inside", "signed")
def _flattened():
    return fixed(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3))), *_data(3, 4)


@animal("conv1d", "signed")
def _conv1d():
    return fixed(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))), *_data(3, 7)


@animal("transposed convolution", "signed")
def _deconvolution():
    return fixed(nn.Sequential(nn.ConvTranspose2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 3))), *_data(1, 3, 4)


@animal("group norm", "signed")
def _group_norm():
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)]
    return fixed(nn.Sequential(*layers)), *_data(1, 4, 4)


@animal("batch norm in eval mode", "signed")
def _batch_norm():
    net = fixed(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)))
    net[1].running_mean.copy_(numbers(5))
    return net, *_data()


@animal("frozen batch norm in a training net", "signed")
def _frozen_batch_norm():
    net, x, y, _ = ZOO["batch norm in eval mode"]()
    net.train()
    net[1].eval()
    return net, x, y


@animal("prelu", "signed")
def _prelu():
    return fixed(nn.Sequential(nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, 3))), *_data()


@animal("one bias frozen", "signed")
def _partly_frozen():
    net = fixed(small())
    net[0].bias.requires_grad_(False)
    return net, *_data()


@animal("dropout", "signed")
def _dropout():
    net = fixed(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3)))
    return net.train(), *_data()


@animal("two heads", "heads", "signed")
def _heads():
    net = synsim.MultiHead(nn.Sequential(nn.Linear(6, 5), nn.Tanh()), [nn.Linear(5, 4), nn.Linear(5, 3)])
    return fixed(net), *_data(), {"head": 1}


@animal("one output", "one output", "signed")
def _binary():
    return fixed(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))), *_data(classes=2)


# Time, tokens, attention.

simple(
    "sequence", lambda net, x: net.o(torch.tanh(net.a(x)).mean(1)), x=(N, 7, 3), a=linear(3, 5), o=linear(5, CLASSES)
)
simple(
    "as many steps as examples",
    lambda net, x: net.o(torch.tanh(net.a(x))[:, -1]),
    x=(N, N, 3),
    a=linear(3, 5),
    o=linear(5, CLASSES),
)


def _per_frame(net: Any, x: Tensor) -> Tensor:
    frames = net.c(x.flatten(0, 1)).mean((-1, -2)).unflatten(0, x.shape[:2])
    return net.o(torch.tanh(frames).mean(1))


simple("video", _per_frame, x=(N, 3, 1, 5, 4), c=lambda: nn.Conv2d(1, 2, 3), o=linear(2, CLASSES))


@animal("per token", "per token", "signed")
def _per_token():
    net = fixed(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    return net, numbers(N, 3, 4), labels(N, 3)


@animal("per token, as many as examples", "per token", "signed")
def _square_tokens():
    net = fixed(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    return net, numbers(N, N, 4), labels(N, N)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.o = nn.Linear(3, 8), nn.Linear(8, 3)
        self.t = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.t(self.e(x)).mean(1))


@animal("transformer", "signed")
def _transformer():
    return fixed(Encoder()), numbers(N, 4, 3), labels(N)


class Language(nn.Module):
    """Embedding, causal attention, a label at every token."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.o = nn.Embedding(9, 6), nn.Linear(6, 3)
        self.q, self.k, self.v = (nn.Linear(6, 6, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.e(x)
        scores = self.q(h) @ self.k(h).transpose(1, 2) / 6**0.5
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.o(h + scores.masked_fill(mask, -torch.inf).softmax(-1) @ self.v(h))


@animal("language model", "tokens", "per token")
def _language():
    return fixed(Language()), labels(N, 4, classes=9), labels(N, 4)


class Bag(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.e, self.o = nn.Embedding(9, 6, **options), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.tanh(self.e(x)).mean(1))


@animal("embedding", "tokens")
def _embedding():
    return fixed(Bag()), labels(N, 7, classes=9), labels(N)


@animal("embedding, sparse gradients", "tokens", "slow path")
def _sparse_embedding():
    return fixed(Bag(sparse=True)), labels(N, 7, classes=9), labels(N)


@animal("embedding, rows shortened", "tokens", "slow path")
def _short_embedding():
    return fixed(Bag(max_norm=0.5)), labels(N, 7, classes=9), labels(N)


class Recurrent(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.r, self.o = getattr(nn, kind)(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.r(x)[0][:, -1])


for _kind in ("GRU", "LSTM", "RNN"):
    animal(_kind.lower(), "signed", "slow path")(
        lambda kind=_kind: (fixed(Recurrent(kind)), numbers(N, 4, 3), labels(N))
    )


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.o = nn.GRUCell(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            h = self.c(x[:, t], h)
        return self.o(h)


@animal("gru cell", "signed")
def _cell():
    return fixed(Cell()), numbers(N, 4, 3), labels(N)


# Layers and weights used in other ways than by calling the layer once.


def _again(net: Any, x: Tensor) -> Tensor:
    for _ in range(3):
        x = torch.tanh(net.a(x))
    return net.o(x)


simple("layer used three times", _again, a=linear(6, 6), o=linear(6, CLASSES))


@animal("tied weights", "signed")
def _tied():
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    net[2].weight = net[0].weight
    return fixed(net), *_data()


simple("tied transpose", lambda net, x: net.o(torch.tanh(F.linear(torch.tanh(net.a(x)), net.a.weight.t()))),
       a=linear(6, 5), o=linear(6, CLASSES))  # fmt: skip
simple("functional", lambda net, x: net.o(torch.tanh(F.linear(x, net.a.weight, net.a.bias))),
       a=linear(6, 5), o=linear(5, CLASSES))  # fmt: skip
simple("functional convolution", lambda net, x: net.o(torch.tanh(F.conv2d(x, net.c.weight, net.c.bias)).flatten(1)),
       x=(N, 1, 4, 4), c=lambda: nn.Conv2d(1, 2, 3), o=linear(8, CLASSES))  # fmt: skip
simple("forward called", lambda net, x: net.o(torch.tanh(net.b(torch.tanh(net.a.forward(x))))), **SMALL)
simple("keyword call", lambda net, x: net.o(torch.tanh(net.b(input=torch.tanh(net.a(input=x))))), **SMALL)
simple("standardised weights", lambda net, x: net.o(torch.tanh(F.linear(x, F.normalize(net.a.weight), net.a.bias))),
       a=linear(6, 5), o=linear(5, CLASSES))  # fmt: skip
simple("cosine classifier", lambda net, x: F.linear(torch.tanh(net.a(x)), F.normalize(net.o.weight)),
       a=linear(6, 5), o=linear(5, CLASSES, bias=False))  # fmt: skip
simple("bias as a gate", lambda net, x: net.o(torch.tanh(net.b(torch.tanh(net.a(x)) * torch.sigmoid(net.a.bias)))),
       **SMALL)  # fmt: skip
simple("weight mean added", lambda net, x: net.o(torch.tanh(net.b(torch.tanh(net.a(x)) + net.a.weight.mean()))),
       **SMALL)  # fmt: skip


def _rarely(net: Any, x: Tensor) -> Tensor:
    # The way around the layer is open for few examples: only for the last one here.
    return net.o(torch.tanh(net.b(torch.tanh(net.a(x)))) + (x[:, :1] > 1).double() * net.a.bias.sum())


simple("a way around for few examples", _rarely, **SMALL)


class Scaled(nn.Module):
    """A bare parameter before known layers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.a = nn.Parameter(torch.ones(6)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(torch.tanh(x * self.scale))


@animal("bare parameter", "signed")
def _bare():
    return fixed(Scaled()), *_data()


# Networks under the tools of torch.


def tool(name: str, *traits: str) -> Callable[[Callable[[nn.Sequential], nn.Module | None]], Any]:
    """An animal that is `small` with something done to it."""

    def add(change: Callable[[Any], nn.Module | None]) -> Any:
        def build() -> tuple[Any, ...]:
            net = fixed(small())
            changed = change(net)
            return net if changed is None else changed, *_data()

        return animal(name, "signed", *traits)(build)

    return add


@tool("forward hook that silences")
def _silenced(net):
    net[0].register_forward_hook(lambda module, inputs, output: output * torch.tensor([0.0, 0, 1, 1, 1]))


@tool("forward hook that scales")
def _hook_scaled(net):
    net[0].register_forward_hook(lambda module, inputs, output: 3 * output)


@tool("forward pre-hook")
def _pre_hooked(net):
    net[0].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))


@tool("backward hook")
def _backward_hooked(net):
    net[2].register_full_backward_hook(lambda module, inputs, outputs: (0.5 * inputs[0],))


@tool("parameter hook", "slow path")
def _parameter_hooked(net):
    net[0].weight.register_hook(lambda gradient: gradient * torch.tensor([[0.0], [1], [1], [2], [1]]))


@tool("pruned")
def _pruned(net):
    prune.l1_unstructured(net[0], "weight", 0.5)


@tool("weight norm")
def _weight_normed(net):
    parametrizations.weight_norm(net[0])


@tool("weight norm by hooks")
def _old_weight_normed(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        weight_norm(net[0])


@tool("spectral norm")
def _spectral_normed(net):
    parametrizations.spectral_norm(net[0])


@tool("compiled")
def _compiled(net):
    return torch.compile(net, backend="eager")


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.last, self.reentrant = inner, nn.Linear(3, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant and torch.is_grad_enabled():
            x = x.detach().requires_grad_()
        return self.last(checkpoint(self.inner, x, use_reentrant=self.reentrant))


# Up to some version torch keeps the inputs of a checkpoint by a function that vmap does not know.
_HOW = () if not hasattr(torch.utils.checkpoint, "_NoopSaveInputs") else ("slow path",)


@animal("checkpointed", "signed", *_HOW)
def _checkpointed():
    return fixed(Checkpointed(small(), False)), *_data()


@animal("checkpointed, reentrant", "signed", "slow path")
def _checkpointed_reentrant():
    return fixed(Checkpointed(small(), True)), *_data()


# Control flow and state.

NORMED: dict[str, Callable[[], nn.Module]] = {
    "n": lambda: nn.LayerNorm(6), "a": linear(6, CLASSES), "b": linear(6, CLASSES)
}  # fmt: skip


def _branch(net: Any, x: Tensor) -> Tensor:
    return net.a(x) if x.sum() > 0 else net.b(x)


def _asks(net: Any, x: Tensor) -> Tensor:
    if not torch.isfinite(x).all():
        raise ValueError("not finite")
    return net.a(torch.tanh(net.b(x)))


def _in_place(net: Any, x: Tensor) -> Tensor:
    h = torch.zeros(x.shape[0], 6, dtype=x.dtype)
    h[:, :3] = net.n(x)[:, :3]
    return net.a(h)


def _numpy(net: Any, x: Tensor) -> Tensor:
    gate = torch.from_numpy((x.detach().numpy() > 0).astype("float64"))
    return net.a(net.n(x) * gate)


def _masked(net: Any, x: Tensor) -> Tensor:
    h = net.n(x)
    h[h < 0] = 0
    return net.a(h)


JUST_A = {"n": NORMED["n"], "a": NORMED["a"]}
simple("asks its data", _asks, "slow path", a=linear(5, CLASSES), b=linear(6, 5))
simple("writes into zeros", _in_place, "slow path", **JUST_A)
simple("boolean mask", _masked, "slow path", **JUST_A)
simple("numpy inside", _numpy, "slow path", **JUST_A)


class Keeps(nn.Module):
    """Forward counts calls, keeps activations, lists shapes, and moves a running mean, which nothing reads."""

    def __init__(self, norm: bool, in_place: bool = True) -> None:
        super().__init__()
        self.in_place = in_place
        self.n, self.a, self.b = nn.LayerNorm(6) if norm else nn.Identity(), nn.Linear(6, 5), nn.Linear(5, 3)
        self.features: Tensor | None = None
        self.calls, self.shapes, self.seen = 0, [], {"rows": 0}
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("total", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.total = self.total.add_(1) if self.in_place else self.total + 1
        self.shapes.append(tuple(x.shape))
        self.seen["rows"] += len(x)
        h = self.n(x)
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        self.features = torch.tanh(self.a(h))
        return self.b(self.features)


@animal("keeps activations", "signed", "keeps")
def _keeps():
    net = fixed(Keeps(True, in_place=False))
    net(numbers(2, 6, seed=9))
    return net, *_data()


@animal("keeps activations, in place", "signed", "keeps", "slow path")
def _keeps_in_place():
    net = fixed(Keeps(True))
    net(numbers(2, 6, seed=9))
    return net, *_data()


@animal("keeps activations, linear", "signed", "keeps")
def _keeps_linear():
    return fixed(Keeps(False)), *_data()


class Moving(nn.Module):
    """A running mean that is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.n, self.a = nn.LayerNorm(6), nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.n(x)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return self.a(h)


@animal("running mean in place", "signed", "keeps", "slow path")
def _moving():
    return fixed(Moving()), *_data()


@animal("dict of logits", "signed")
def _dict():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            h = self.a(x)
            return {"hidden": h.detach(), "logits": h}

    return fixed(Named()), *_data()


# Stochastic synapses.


def stochastic(name: str, *traits: str, kind: str = "stochastic") -> Callable[[Any], Any]:
    return animal(name, *traits, kind=kind)


def _rates(*shape: int) -> Tensor:
    return numbers(*shape).abs()


def _synaptic(scope: str, replicas: int | None = None, **options: Any) -> nn.Module:
    net = synsim.mlp([6, 5, 3], bias=True, scope=scope, replicas=replicas, seed=7, dtype=torch.float64, **options)
    return spread(net)


for _scope in ("batch", "sample", "event-gaussian"):
    stochastic(f"synapses, {_scope} scope")(lambda scope=_scope: (_synaptic(scope), _rates(N, 6), labels(N)))
stochastic("synapses, three sites")(lambda: (_synaptic("batch", sites=3), _rates(N, 6), labels(N)))
stochastic("replicas", "replicas")(lambda: (_synaptic("batch", replicas=2), _rates(N, 6), labels(N)))
stochastic("replicas, images of their own", "replicas")(
    lambda: (_synaptic("sample", replicas=2), _rates(2, N, 6), labels(2, N))
)


@stochastic("synapses, event scope")
def _events():
    net = nn.Sequential(synsim.BernoulliLinear(6, 3, p=0.5, bias=True, scope="event", dtype=torch.float64))
    return spread(synsim.networks.initialised(net, 7)), (numbers(N, 6) > 0).double(), labels(N)


@stochastic("synaptic convolution")
def _synaptic_convolution():
    net = nn.Sequential(
        synsim.BernoulliConv2d(1, 2, 3, bias=True, dtype=torch.float64),
        nn.ReLU(),
        nn.Flatten(-3),
        synsim.BernoulliLinear(8, 3, dtype=torch.float64),
    )
    return spread(synsim.networks.initialised(net, 7)), _rates(N, 1, 4, 4), labels(N)


@stochastic("synapses between plain layers")
def _between():
    middle = synsim.BernoulliLinear(5, 4, dtype=torch.float64)
    net = fixed(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), middle, nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 3)))
    synsim.seed(net, 7)
    return spread(net), _rates(N, 6), labels(N)


@stochastic("synapses and dropout")
def _dropping():
    layers = [synsim.BernoulliLinear(6, 5, dtype=torch.float64), nn.ReLU(), StreamDropout(0.5)]
    net = nn.Sequential(*layers, synsim.BernoulliLinear(5, 3, dtype=torch.float64))
    return spread(synsim.networks.initialised(net, 7)), _rates(N, 6), labels(N)


class Synapses(nn.Module):
    """Synapses as a user wires them: called by keyword, a weight used by hand, one output as a sum of two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (synsim.BernoulliLinear(6, 5, dtype=torch.float64) for _ in range(2))
        self.o = synsim.BernoulliLinear(5, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.relu(self.a(x=x)) + torch.relu(self.b(x)) + self.b.weight.mean())


@stochastic("synapses, wired by hand")
def _wired():
    return spread(synsim.networks.initialised(Synapses(), 7)), _rates(N, 6), labels(N)


for _control in ("ghost-expected", "ghost-code", "unnormalised"):
    stochastic(f"control, {_control}", kind="control")(
        lambda control=_control: (
            synsim.controls.mlp([6, 5, 3], control, bias=True, seed=7, dtype=torch.float64), _rates(N, 6), labels(N)
        )
    )  # fmt: skip


# Networks in which examples meet.

simple("centred over the batch", lambda net, x: net.o(x - x.mean(0)), mixed=True, o=linear(6, CLASSES))
simple("attention over the batch", lambda net, x: net.o((x @ x.t()).softmax(-1) @ x), mixed=True, o=linear(6, CLASSES))
simple("scaled by the batch", lambda net, x: net.o(torch.tanh(net.a(x / x.detach().abs().max()))), mixed=True,
       a=linear(6, 5), o=linear(5, CLASSES))  # fmt: skip
simple("branch on the batch", _branch, mixed=True, **{key: NORMED[key] for key in "ab"})


@animal("batch norm in training mode", "signed", mixed=True)
def _training_batch_norm():
    return fixed(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))).train(), *_data()
