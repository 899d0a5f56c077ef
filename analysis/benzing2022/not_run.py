"""Figures that no experiment is run for: networks and data sets beyond what is here."""

from synsim.report import Item, verdict

RESNETS = Item(
    "Fig. 5.5, 5.10, 5.12, 5.14–5.16",
    "FOOF, KFAC, SGD and natural gradients in a Wide ResNet18 on CIFAR-10 and CIFAR-100 and in a VGG11 on SVHN. These "
    "take days on processors, and two of the data sets are not read here.",
    verdict=verdict.NOT_RUN,
)
FACES = Item(
    "Fig. 5.17, 5.19",
    "Auto-encoders on FACES and CURVES, data sets that are not read here.",
    verdict=verdict.NOT_RUN,
)

ITEMS = {5.0: RESNETS, 17.0: FACES}
