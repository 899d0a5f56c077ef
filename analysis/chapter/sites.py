"""Release sites and masks per image: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Release sites and masks per image",
    "How do bits per energy change with the number of release sites N per synapse at equal mean release, and with "
    "one mask per image instead of one per batch?",
    "sites",
    "python experiments/sites.py --preset paper",
    alt="Curves over the number of release sites for networks with fixed and with plastic release, one for a mask "
    "per batch and one for a mask per image: bits per energy, mutual information and synaptic energy.",
)

STUDIES = {1.0: STUDY}
