"""Whether descent on neurons forgets more: a study of ours."""

from synsim.report import Study

STUDY = Study(
    "Descent on neurons and forgetting",
    "Does descent on neurons forget more than descent on weights, without protection and under every consolidation?",
    "lifelong_descent",
    "python experiments/lifelong_descent.py --preset full",
    alt="Bars of accuracy over all tasks, one group per consolidation with one bar per rule; points forgotten against "
    "accuracy right after learning without protection, one mark per rate.",
)

STUDIES = {1.0: STUDY}
