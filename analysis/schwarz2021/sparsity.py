"""Fig. 1: how sparse powerpropagated weights are by themselves."""

from synsim.papers.schwarz2021 import ALPHAS
from synsim.report import Apart, Item, Limit, Note, Order, Shown

COMMAND = "python experiments/sparsity.py --preset paper --data mnist"
POWERS = tuple(f"α = {alpha:g}" for alpha in ALPHAS)
PLAIN, HIGHER = POWERS[0], POWERS[1:]
KEPT = ("2.1%", "4.3%", "8.9%", "18.3%", "37.9%")
OVERLAP = "overlap of first and last masks at 10% kept"
SIGNS, KURTOSIS = "weights whose sign changed, %", "kurtosis of the weights"
RISEN = "of 10% kept, began smaller than the median, %"
FEW = "test accuracy with 5.0% kept, %"


def kept(share: str, scope: str = "layer") -> str:
    """Name of the row with a share of the weights kept."""
    return f"test accuracy with {share} kept by {scope}, %"


PRUNED = Item(
    "Fig. 1a",
    "LeNet-300-100 on MNIST, pruned by magnitude in each layer without retraining: every α > 1 is better than the "
    "plain network. The curves are in a picture only.",
    "sparsity",
    COMMAND,
    claims=(
        *(
            Order(f"accuracy with {share} kept, %: {power} over {PLAIN}", (kept(share), power), (kept(share), PLAIN))
            for share in KEPT
            for power in HIGHER
        ),
        *(
            Apart(
                f"accuracy with 8.9% kept of the whole network, %: {power} against {PLAIN}",
                (kept("8.9%", "network"), power),
                (kept("8.9%", "network"), PLAIN),
            )
            for power in HIGHER
        ),
        *(Shown(f"accuracy of the dense network, %: {power}", ("test accuracy, %", power)) for power in POWERS),
    ),
    figure=("sparsity", "sparsity"),
    alt="Test accuracy against the share of weights that is kept, ranked in each layer and over the network, one curve "
    "per power; overlap of the masks before and after learning; weights before against after for two powers; accuracy "
    "with few weights against the power, pruned at once, gradually, and trained by TopKAST.",
    notes=(
        Note(
            "The curves are said to be better for every α > 1, and the paper looks at few weights. With this many the "
            "plain network has lost little, and its dense accuracy counts.",
            about=tuple(f"accuracy with {share} kept, %" for share in KEPT[3:]),
        ),
        Note(
            "Within layers is how the paper ranks; the lines of the whole network show what depends on that.",
            always=True,
        ),
    ),
)
OVERLAPS = Item(
    "Fig. 1b",
    "The overlap of the masks computed before and after training grows with α, and small weights can always escape "
    "pruning. The curves are in a picture only.",
    "sparsity",
    COMMAND,
    claims=(
        *(
            Order(f"overlap with 10 % kept: {higher} over {lower}", (OVERLAP, higher), (OVERLAP, lower))
            for lower, higher in zip(POWERS, HIGHER, strict=False)
        ),
        *(
            Limit(f"overlap with 10 % kept: {power}", (OVERLAP, power), "<", 1.0, "never the same: below 1")
            for power in HIGHER
        ),
    ),
    figure=("sparsity", "sparsity"),
    alt=PRUNED.alt,
)
WEIGHTS = Item(
    "Fig. 1c,d",
    "With α > 1 weights that begin near zero are less likely to survive pruning, trained weights have heavier tails, "
    "and they change their sign less often. The weights are in a picture only.",
    "sparsity",
    COMMAND,
    claims=tuple(
        Order(f"{words}: {first} over {second}", (key, first), (key, second), published)
        for words, key, published, plain_first in (
            ("of 10 % kept, began smaller than the median, %", RISEN, "rarer with α > 1", True),
            ("kurtosis of the weights", KURTOSIS, "heavier tails with α > 1", False),
            ("weights whose sign changed, %", SIGNS, "rarer with α > 1", True),
        )
        for power in HIGHER
        for first, second in [(PLAIN, power) if plain_first else (power, PLAIN)]
    ),
    figure=("sparsity", "sparsity"),
    alt=PRUNED.alt,
)
SCHEDULES = Item(
    "Table 1, on MNIST",
    "Powerpropagation improves iterative pruning and TopKAST, too. The published values are of a ResNet-50 on "
    "ImageNet, which is not run here: the same comparison on LeNet-300-100 and MNIST, with constants of ours.",
    "sparsity",
    COMMAND,
    claims=tuple(
        Order(
            f"accuracy with 5 % kept, {words}, %: {power} over {PLAIN}",
            (FEW, f"{power}, {schedule}"),
            (FEW, f"{PLAIN}, {schedule}"),
            "larger (ImageNet)",
        )
        for schedule, words in (("gradual", "iterative pruning"), ("topkast", "TopKAST"))
        for power in HIGHER
    ),
    figure=("sparsity", "sparsity"),
    alt=PRUNED.alt,
    notes=(
        Note(
            "The paper prints neither the powers nor the constants of these runs. Ours: pruning from 20 to 80 % of the "
            "steps on a cubic schedule; TopKAST learns half of the weights and chooses anew every 100 steps.",
            always=True,
        ),
    ),
)

ITEMS = {1.0: PRUNED, 1.1: OVERLAPS, 1.2: WEIGHTS, 2.0: SCHEDULES}
