"""Fig. 4.1 and 4.6, and a claim of the text: what a bit costs with plastic, deterministic and fixed release."""

from synsim.papers.schug2021 import ENERGY_RATES
from synsim.report import Grid, Item, Limit, Note, Order, Shown

MODELS = ("plastic", "deterministic", "fixed")
PLASTIC = Note(
    f"The deterministic network has its own learning rate ({ENERGY_RATES['deterministic']}; the others "
    f"{ENERGY_RATES['plastic']}) and the release probabilities move by "
    "the published code's rule, whose steps shrink towards 1; both are in the code, not in the text. The published "
    "code sums the sampled weights of the fixed-release network, we its expected strengths."
)

ENERGY = Item(
    "Fig. 4.1a,b",
    "Stochastic, plastic release gets most bits out of a unit of synaptic energy; with fixed release the network needs "
    "more energy than the deterministic one. The values are in a picture only.",
    "energy",
    "python experiments/energy.py --preset paper",
    claims=(
        Shown("10⁻³ bits per energy, plastic", ("best", "plastic")),
        Shown("10⁻³ bits per energy, deterministic", ("best", "deterministic")),
        Shown("10⁻³ bits per energy, fixed release 0.4", ("best", "fixed")),
        Order("bits per energy: plastic over deterministic", ("best", "plastic"), ("best", "deterministic")),
        Order("bits per energy: deterministic over fixed", ("best", "deterministic"), ("best", "fixed")),
        Order("energy: fixed over deterministic", ("cost", "fixed"), ("cost", "deterministic")),
    ),
    figure=("energy", "energy"),
    alt="Mutual information against synaptic energy, one point per weight decay and a curve per model; bars of bits "
    "per energy at each model's best decay; release probabilities before and after learning.",
    notes=(PLASTIC,),
)
SWEEP = Item(
    "Fig. 4.6a,b",
    "Bits per synaptic energy (a) and per activity of the neurons (b) for every weight decay. The values are in a "
    "picture only.",
    "energy",
    "python experiments/energy.py --preset paper --parts main",
    grids=(
        Grid("10⁻³ bits per energy (a), mean ± s.e.", "per energy", MODELS, "weight decay"),
        Grid("10⁻³ bits per activity (b), mean ± s.e.", "per activity", MODELS, "weight decay"),
    ),
    figure=("energy", "energy-controls"),
    alt="Bits per energy and bits per activity against the weight decay, one curve per model; below, where they were "
    "run, fixed release over probabilities, the release probabilities from two starts, and changed steps.",
    notes=(
        Note(
            "Activity is the sum over all hidden units, averaged over images and passes, as in the published code; the "
            "paper calls it an average rate.",
            always=True,
        ),
    ),
)
RELEASE = Item(
    "Fig. 4.6c",
    "Most bits per energy over the learning rates for every fixed release probability, at weight decay 0.01. The curve "
    "is in a picture only, and the learning rates of the search are not stated.",
    "energy",
    "python experiments/energy.py --preset paper --parts fixed",
    claims=tuple(
        Shown(f"10⁻³ bits per energy, release probability {p}", ("fixed release", p))
        for p in ("0.25", "0.4", "0.6", "0.8", "1")
    ),
    figure=("energy", "energy-controls"),
    alt=SWEEP.alt,
)
UNIFORM = "U(0.25, 1)"
START = Item(
    "Fig. 4.6d",
    "The release probabilities become as sparse if they start at random in [0.25, 1] instead of at 0.25.",
    "energy",
    "python experiments/energy.py --preset paper --parts start",
    claims=(
        Limit(f"synapses with p ≥ 0.9 at the end from {UNIFORM}, %", ("start share", UNIFORM), "<", 50.0,
              "few: fewer than half"),
        Shown("synapses with p ≥ 0.9 at the end from p = 0.25, %", ("start share", "p = 0.25")),
        Shown(f"mean p at the end from {UNIFORM}", ("start mean p", UNIFORM)),
        Shown("mean p at the end from p = 0.25", ("start mean p", "p = 0.25")),
    ),
    figure=("energy", "energy-controls"),
    alt=SWEEP.alt,
)  # fmt: skip
STEPS = tuple(f"p_up {up}, p_down {down}" for up in ("-25 %", "+0 %", "+25 %") for down in ("-25 %", "+0 %", "+25 %"))
ROBUST = Item(
    "Steps changed by a quarter (text)",
    "Changing p_up and p_down by ± 25 % does not change the energy result: here, that plastic release gets more bits "
    "per energy than the deterministic network at the same weight decay.",
    "energy",
    "python experiments/energy.py --preset paper --parts robust",
    claims=tuple(
        Order(f"{name.replace('-', '−')}: plastic over deterministic", ("robust", name), ("robust", "deterministic"))
        for name in STEPS
    ),
    figure=("energy", "energy-controls"),
    alt=SWEEP.alt,
    notes=(PLASTIC,),
)

ITEMS = {1.0: ENERGY, 6.0: SWEEP, 6.1: RELEASE, 6.2: START, 6.3: ROBUST}
