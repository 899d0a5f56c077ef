"""Table 3, its claim without its network: protection of φ helps."""

from synsim.report import Item, Note, Order

FINAL = "accuracy over all tasks at the end, %"
PLAIN = "α = 1, {} on θ"

PROTECTED = Item(
    "Table 3 (the claim)",
    "Powerpropagation improves protection by EWC and its relatives when the penalty acts on φ. The table is of a "
    "variational autoencoder on characters; here the claim is asked of a classifier on permuted images.",
    "protected_power",
    "python experiments/protected_power.py --preset paper --data mnist",
    claims=tuple(
        Order(
            f"accuracy over all tasks at the end, %: {name.upper()} on φ, α = {alpha}, over {other}",
            (FINAL, f"α = {alpha}, {name} on φ"),
            (FINAL, key.format(name, alpha=alpha)),
            text,
        )
        for name in ("ewc", "si")
        for alpha in ("1.5", "2")
        for other, key, text in (
            ("α = 1", PLAIN, "better than without a power"),
            ("θ", "α = {alpha}, {} on θ", "ours: in φ rather than in θ"),
        )
    ),
    figure=("protected_power", "protected_power"),
    alt="Accuracy over all tasks at the end for every power, unprotected and with EWC and SI on θ and on φ; accuracy "
    "over the tasks so far as they follow each other, for the plain network and the highest power.",
    notes=(
        Note(
            "SI is no method with a power in the paper; rates and strengths were chosen for each power and protection "
            "on seeds that are not reported.",
            always=True,
        ),
    ),
)

ITEMS = {3.0: PROTECTED}
