"""The search for the metaplasticity constants: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "The search for the metaplasticity constants",
    "What does a random search on permuted tasks find, and what are its constants worth on other tasks?",
    "search",
    "python experiments/search.py --preset paper",
    alt="Scores of all trials against each constant, with the published constants and the best trial marked.",
)

STUDIES = {3.0: STUDY}
