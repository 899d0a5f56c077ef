"""Printed and published rule of the release probability: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Printed and published rule of the release probability",
    "Does the rule as printed (hard bounds) do what the rule of the published code does (soft bounds), each with "
    "the published constants and with its own?",
    "bounds",
    "python experiments/bounds.py --preset paper",
    alt="Bars of accuracy over all tasks and of bits per energy for soft and hard bounds, with the published "
    "constants and with their own, beside the sorted scores of the random search.",
)

STUDIES = {2.0: STUDY}
