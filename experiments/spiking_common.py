"""What the spiking experiments share: the settings of their networks, how data reach them, slices of a data set."""

from dataclasses import replace
from typing import Any, cast

from common import load

from synsim._checks import require
from synsim.data import Dataset
from synsim.experiment import PresetConfig, option
from synsim.spiking import FastSigmoid, GivenSpikes

# Found by hand for 784-200-10 on MNIST: thresholds, gains and slopes of norse and snnTorch suit weights that are larger
# at the start than 1 / √fan_in.
NETWORK: dict[str, Any] = {"threshold": 0.3, "gain": 3.0, "surrogate": FastSigmoid(10.0)}


class SpikingConfig(PresetConfig):
    """Options of the experiments that train spiking networks."""

    preset: str = option("quick", "quick: minutes on one core; full: all images, wider, longer", ("quick", "full"))
    hidden: tuple[int, ...] = option((), "widths of the hidden layers")
    images: int | None = option(None, "training images (per task), the first ones")
    tested: int | None = option(None, "test images (per task), the first ones")
    samples: int = option(None, "stochastic passes per test")


def images_or_spikes(config: SpikingConfig) -> Dataset:
    """The data set of a run; options about time are for images, and refused with spike trains, which have their own."""
    data, made = load(config, spikes=True), cast("type[Any]", type(config))
    usual = made(preset=config.preset)
    if data.dt is not None:
        for name in ("window", "dt", "rate"):
            asked = getattr(config, name, None)
            require(
                asked == getattr(usual, name, None),
                f"--{name} {asked} is for images. The spike trains of {config.data} have times of their own: "
                f"{data.x_train.shape[1]} steps of {data.dt} ms. Leave --{name} out.",
            )
    return data


def entrance(data: Dataset, window: float, dt: float, rate: float, replicas: int) -> tuple[int, dict[str, Any]]:
    """Width of the input of a spiking network, and how it is shown the data: images as Poisson spikes, spikes as given.

    Spike trains have a window and time steps of their own.
    """
    if data.dt is None:
        return data.x_train[0].numel(), {"window": window, "dt": dt, "rate": rate}
    steps, neurons = data.x_train.shape[1:]
    return neurons, {"dt": data.dt, "encoder": GivenSpikes(window=steps * data.dt, dt=data.dt, replicas=replicas)}


def sliced(data: Dataset, train: int | None, test: int | None) -> Dataset:
    """The first images of a data set; None or too many: all of them."""
    return replace(
        data,
        x_train=data.x_train[:train],
        y_train=data.y_train[:train],
        x_test=data.x_test[:test],
        y_test=data.y_test[:test],
    )
