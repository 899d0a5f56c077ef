"""Fig. 1: how sparse powerpropagated weights are by themselves."""

from synsim.papers.schwarz2021 import ALPHAS
from synsim.report import Item, Limit, Note, Order, Shown

COMMAND = "python experiments/sparsity.py --preset paper --data mnist"
POWERS = tuple(f"α = {alpha:g}" for alpha in ALPHAS)
PLAIN, HIGHER = POWERS[0], POWERS[1:]
KEPT = ("2.1%", "4.3%", "8.9%", "18.3%", "37.9%")
OVERLAP = "overlap of first and last masks at 10% kept"
SIGNS = "weights whose sign changed, %"


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
        *(Shown(f"accuracy of the dense network, %: {power}", ("test accuracy, %", power)) for power in POWERS),
    ),
    figure=("sparsity", "sparsity"),
    alt="Test accuracy against the share of weights that is kept, ranked in each layer and over the network, one curve "
    "per power; overlap of the masks before and after learning; weights before against after for three powers.",
    notes=(
        Note("With more weights kept the plain network has lost next to nothing yet, and is the better one, as its "
             "dense accuracy is."),
        Note("Ranked over the whole network the plain one keeps up with the others from about 7 % kept on: the gain "
             "depends on the baseline's ranking within layers.", always=True),
    ),
)  # fmt: skip
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
    "Trained weights have heavier tails with α > 1, and change their sign less often. The weights are in a picture "
    "only.",
    "sparsity",
    COMMAND,
    claims=(
        *(
            Order(
                f"kurtosis of the weights: {power} over {PLAIN}",
                ("kurtosis of the weights", power),
                ("kurtosis of the weights", PLAIN),
                "heavier tails",
            )
            for power in HIGHER
        ),
        *(
            Order(f"{SIGNS[:-3]}, %: {PLAIN} over {power}", (SIGNS, PLAIN), (SIGNS, power), "rarer with α > 1")
            for power in HIGHER
        ),
    ),
    figure=("sparsity", "sparsity"),
    alt=PRUNED.alt,
)

ITEMS = {1.0: PRUNED, 1.1: OVERLAPS, 1.2: WEIGHTS}
