"""Spiking networks: tasks in sequence: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Spiking networks: tasks in sequence",
    "Does presynaptic consolidation keep old tasks in a spiking network too, against EWC and no protection, each "
    "at the best setting of its grid?",
    "spiking_lifelong",
    "python experiments/spiking_lifelong.py --data mnist",
    alt="Accuracy on the first task after each task, accuracy over all tasks at the end, and the search of the "
    "learning rates.",
)

STUDIES = {2.0: STUDY}
