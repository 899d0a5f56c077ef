"""What the learning rules of this package share: whose parameters they move, by which constants, and how they travel.

A rule keeps the network that it was given, since a synapse has more than a parameter: its release probability, its
name, its seed. Copies and pickles of a rule hold a copy of that network, as those of torch's optimisers hold copies of
the parameters; copied or pickled together, rule and network stay together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._names import named_parameters
from synsim.networks import replicas_of
from synsim.rules.settable import PerReplica, settable
from synsim.synapses import StochasticLayer, synapses
from synsim.synapses.base import living

_LABELS = {"params", "param_names", "name", "initial_lr"}


@dataclass(frozen=True)
class Home:
    """Where a parameter belongs.

    Attributes:
        name: its name in the network.
        parameter: the parameter.
        layer: the stochastic layer whose weight it is, or None.
    """

    name: str
    parameter: Tensor
    layer: StochasticLayer | None


class Rule(Optimizer):
    """An optimiser that knows the network whose parameters it moves.

    Args:
        net: the network.
        settings: constants of a group, checked.

    Raises:
        TypeError: if `net` is not a module.
        ValueError: if a parameter does not fit the rule.
    """

    def __init__(self, net: nn.Module, settings: dict[str, Any]) -> None:
        self._net, self._replicas = net, replicas_of(net)
        self._homes: dict[int, Home] = {}
        self._named: dict[str, Home] = {}
        super().__init__(list(net.parameters()), self._settings(settings))

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold.

        Returns:
            Attribute -> value.
        """
        homes = list(self._homes.values())
        return {**super().__getstate__(), "_net": self._net, "_replicas": self._replicas, "_homes": homes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from a copy, a pickle, or a `state_dict`.

        Args:
            state: attribute -> value.
        """
        super().__setstate__(state)
        # Put there by torch for optimisers of its own.
        self.defaults.pop("differentiable", None)
        if "_homes" in state:
            self._homes = {id(home.parameter): home for home in state["_homes"]}
            self._named = {home.name: home for home in state["_homes"]}
        for group in self.param_groups:
            group.update({name: settable(group[name]) for name in self.defaults if name in group})

    def state_dict(self) -> dict[str, Any]:
        """State and constants, in plain tensors and numbers.

        Returns:
            As for every torch optimiser.
        """
        found = super().state_dict()
        for group in found["param_groups"]:
            for name, value in group.items():
                if isinstance(value, PerReplica):
                    group[name] = value.as_subclass(Tensor)
        return found

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in further parameters, such as those of a new head.

        Weights of stochastic layers are recognised: their release probabilities move too.

        Args:
            param_group: "params": a module, parameters, or (name, parameter) pairs; and constants of their own, where
                they differ from those that the rule was built with.

        Raises:
            TypeError: if there are no such parameters.
            ValueError: if a constant is unknown or does not fit, or a parameter does not fit the rule.
        """
        kind = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f'expected a dict with "params", got {param_group!r:.60}.')
        unknown = sorted(param_group.keys() - self.defaults.keys() - _LABELS - self._further)
        if unknown:
            known = ", ".join(sorted(self.defaults.keys() | self._further))
            raise ValueError(f"a group of {kind} has the constants {known}; got {', '.join(unknown)}.")
        source = param_group["params"]  # held until its layers have been found
        names, param_group["params"] = _listed(source)
        param_group.pop("param_names", None)
        given = {name: param_group[name] for name in param_group if name in self.defaults}
        # Copies: a schedule writes into a tensor in place, and must not reach other groups.
        for name, value in {**self.defaults, **self._settings({**self.defaults, **given})}.items():
            param_group[name] = settable(value.clone() if isinstance(value, Tensor) else value)
        homes = self._found(param_group["params"], names, param_group)
        del source
        super().add_param_group(param_group)
        self._homes.update({id(home.parameter): home for home in homes})
        self._named.update({home.name: home for home in homes})

    _further: frozenset[str] = frozenset()
    """Keys of a new group that are no constants of it."""

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        # The constants of a group, checked.
        raise NotImplementedError

    def _fits(self, home: Home, owners: Sequence[StochasticLayer], group: Mapping[str, Any]) -> None:
        # Refuse a parameter that this rule can't move.
        raise NotImplementedError

    def _found(self, parameters: Sequence[Tensor], given: Mapping[int, str], group: Mapping[str, Any]) -> list[Home]:
        # Where parameters belong; names are those of the network, then those given, then made up.
        known = {id(parameter): name for name, parameter in named_parameters(self._net)}
        owners = _owners(self._net, parameters)
        homes: list[Home] = []
        taken = set(self._named)
        for index, parameter in enumerate(parameters):
            name = known.get(id(parameter), given.get(id(parameter), ""))
            if not name or name in taken:
                name = f"param_groups.{len(self.param_groups)}.{name or index}"
            taken.add(name)
            layers = owners.get(id(parameter), [])
            home = Home(name, parameter, layers[-1] if layers else None)
            self._fits(home, layers, group)
            homes.append(home)
        return homes

    def _home(self, parameter: Tensor, group: Mapping[str, Any]) -> Home:
        # A parameter that somebody put into a group by hand.
        (home,) = self._found([parameter], {}, group)
        self._homes[id(parameter)] = self._named[home.name] = home
        return home

    def _rename(self) -> None:
        # A head may become a part of the network after it was added here.
        for name, parameter in named_parameters(self._net):
            home = self._homes.get(id(parameter))
            if home is not None and home.name != name and name not in self._named:
                self._homes[id(parameter)] = self._named[name] = Home(name, parameter, home.layer)
                del self._named[home.name]


def network(net: object, rule: str) -> nn.Module:
    """The network of a rule.

    Args:
        net: what the rule was given.
        rule: its name, for the message.

    Returns:
        The same.

    Raises:
        TypeError: if it is not a module.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(
            f"{rule} expects the network itself, an nn.Module, got {type(net).__name__}. Call {rule}(net, ...), not "
            f"{rule}(net.parameters(), ...): a synapse is more than its parameter."
        )
    return net


def _listed(params: Any) -> tuple[dict[int, str], list[Any]]:
    # Names (by identity) where they were given, and the parameters.
    if isinstance(params, nn.Module):
        params = list(named_parameters(params))
    if isinstance(params, Tensor):
        return {}, [params]
    if isinstance(params, set | frozenset) or not isinstance(params, Iterable):
        raise TypeError(
            f"the parameters of a group must come as a module or an ordered collection of tensors, got a "
            f"{type(params).__name__}."
        )
    pairs = [entry if isinstance(entry, tuple) else (None, entry) for entry in params]
    names = {id(parameter): name for name, parameter in pairs if name is not None}
    return names, [parameter for _, parameter in pairs]


def _owners(net: nn.Module, parameters: Sequence[Tensor]) -> dict[int, list[StochasticLayer]]:
    # The stochastic layers whose weights these are: layers of the network, else of any other.
    owners: dict[int, list[StochasticLayer]] = {}
    for layer in synapses(net).values():
        owners.setdefault(id(vars(layer)["_parameters"].get("weight")), []).append(layer)
    missing = {id(parameter) for parameter in parameters} - owners.keys()
    for layer in living() if missing else ():
        weight = id(vars(layer)["_parameters"].get("weight"))
        if weight in missing:
            owners.setdefault(weight, []).append(layer)
    return owners
