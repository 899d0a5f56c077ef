"""Names that users look for, and kinds of their own that are known by a name."""

import inspect

import pytest
import torch

import synsim
from synsim import consolidation, importance


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(importance, "_KINDS", dict(importance._KINDS))
    monkeypatch.setattr(consolidation, "_KINDS", dict(consolidation._KINDS))


def test_others_names_are_ours() -> None:
    assert set(importance.ALIASES.values()) <= set(importance.available())
    made = importance.make("EWC", images=5)
    assert isinstance(made, type(importance.make("fisher")))
    assert vars(made) == vars(importance.make("fisher", images=5))


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ValueError, match=r"got 'fischer'. Did you mean 'fisher'"):
        importance.make("fischer")
    with pytest.raises(ValueError, match=r"got 'penality'. Did you mean 'penalty'"):
        consolidation.make("penality")


@pytest.mark.parametrize("room", [importance, consolidation])
def test_signatures_name_every_option(room) -> None:
    for name, kind in room._KINDS.items():
        options = inspect.signature(kind).parameters
        assert not any(option.kind is option.VAR_KEYWORD for option in options.values()), name
        told = inspect.getdoc(kind)
        assert "Args:" not in told or all(f"\n    {option}: " in told for option in options), name


def test_an_option_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ValueError, match=r"importance 'fisher': an option .*got 'imges'. Did you mean 'images'"):
        importance.make("ewc", imges=3)
    with pytest.raises(ValueError, match=r"importance 'uniform': takes no arguments, got 'images'"):
        importance.make("uniform", images=3)


def test_a_kind_of_one_s_own_is_made_by_its_name_and_protects() -> None:
    @importance.register
    class Squares(importance.Importance):
        """Squared weights."""

        name = "squares"

        def estimate(self, net, x, y=None, *, head=None):
            return {name: p.detach() ** 2 for name, p in net.named_parameters()}

    @consolidation.register
    class Anchor(type(consolidation.make("penalty"))):
        name = "anchor"

    assert importance.available()[-1] == "squares"
    net = synsim.mlp([6, 4, 3])
    guard = synsim.attach(net, torch.optim.SGD(net.parameters(), 0.1), "squares", "anchor", strength=2.0)
    with guard.task(torch.randn(4, 6)):
        pass
    assert torch.equal(guard.found["0.weight"], net[0].weight.detach() ** 2)
    assert set(guard.consolidation.importance) == {"0.weight", "2.weight"}


def test_a_class_may_be_defined_again_and_a_name_taken_once() -> None:
    def define(name):
        class Mine(importance.Importance):
            pass

        Mine.name = name
        return Mine

    importance.register(define("mine"))
    again = importance.register(define("mine"))
    assert type(importance.make("mine")) is again
    with pytest.raises(ValueError, match="needs a `name` of its own, got 'fisher'"):
        importance.register(define("fisher"))
    with pytest.raises(ValueError, match="needs a `name` of its own, got ''"):
        importance.register(define(""))
    with pytest.raises(TypeError, match=r"expected a subclass of synsim.importance.Importance, got 3"):
        importance.register(3)


def test_an_importance_of_other_shapes_is_refused_by_name() -> None:
    @importance.register
    class Flat(importance.Importance):
        name = "flat"

        def estimate(self, net, x, y=None, *, head=None):
            return {name: p.detach().flatten() for name, p in net.named_parameters()}

    net = torch.nn.Linear(6, 3)
    guard = synsim.attach(net, torch.optim.SGD(net.parameters(), 0.1), "flat", "penalty")
    guard.start()
    with pytest.raises(ValueError, match=r"importance 'flat' of 'weight' must have the shape .*, \[3, 6\], got \[18\]"):
        guard.finish(torch.randn(4, 6))
