"""Spiking networks: PyTorch against Brian2: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Spiking networks: PyTorch against Brian2",
    "Does a trained network do the same in Brian2, an independent simulator?",
    "brian2_check",
    "python experiments/brian2_check.py --data digits",
    alt="Readouts and releases in Brian2 against those in PyTorch.",
)

STUDIES = {3.0: STUDY}
