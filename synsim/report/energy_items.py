"""The figures of the chapter that show the energy experiment and its trained network."""

from dataclasses import replace

from synsim.papers.schug2021 import CORRELATION, DECAY, ENERGY_RATES, KS_D, KS_P
from synsim.report.claims import Grid, Item, Limit, Note, Order, Shown, Value
from synsim.report.remarks import without_training

MODELS = ("plastic", "deterministic", "fixed")
PLASTIC = Note(
    f"The deterministic network has its own learning rate ({ENERGY_RATES['deterministic']}; the others "
    f"{ENERGY_RATES['plastic']}) and the release probabilities move by "
    "the published code's rule, whose steps shrink towards 1; both are in the code, not in the text. The published "
    "code sums the sampled weights of the fixed-release network, we its expected strengths."
)
DECAY_UNKNOWN = Note(
    f"The paper does not say which weight decay underlies this figure; {DECAY} is the default of its code "
    "(`--decay` sets another).",
    always=True,
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
IMPORTANCE = Item(
    "Fig. 4.2a,c,d",
    "After learning few synapses have a high release probability (p ≥ 0.9); these spend more energy and have a larger "
    "Fisher information than the others. The values are in a picture only.",
    "importance_of_release",
    "python experiments/importance_of_release.py --preset paper",
    prefer={"decay": DECAY},
    claims=(
        Limit("synapses with p ≥ 0.9, %", ("share", "high"), "<", 50.0, "few: fewer than half"),
        Order("mean |w̄|: p ≥ 0.9 over p < 0.9", ("energy", "high"), ("energy", "low")),
        Order("mean Fisher information: p ≥ 0.9 over p < 0.9", ("fisher", "high"), ("fisher", "low")),
        Shown("correlation of p with the Fisher information (Pearson)", ("r", "fisher")),
    ),
    grids=(
        Grid(
            "Correlation of p with every importance in the run, all synapses, mean ± s.e.",
            "correlation", ("Pearson", "Spearman"), "importance",
        ),
    ),
    figure=("importance_of_release", "importance_of_release"),
    alt="Histogram of release probabilities before and after learning; bars of the mean synaptic energy and of the "
    "mean Fisher information of synapses with high and with low release probability.",
    notes=(
        DECAY_UNKNOWN,
        Note(
            "The Fisher information is the published code's: empirical, true labels, test set, all p set to 1.",
            always=True,
        ),
    ),
    remarks=(without_training,),
)  # fmt: skip
LESIONS = Item(
    "Fig. 4.2b",
    "Silencing synapses with low release probability first hurts far less than silencing them at random. The curves "
    "are in a picture only; the orders beside these two are ours.",
    "lesions",
    "python experiments/lesions.py --preset paper",
    prefer={"decay": DECAY},
    claims=(
        Order("accuracy, mean over all fractions, %: low p first over random", ("mean", "p"), ("mean", "random")),
        Order("accuracy with 50 % silenced, %: low p first over random", ("50 %", "p"), ("50 %", "random")),
        *(
            Shown(f"accuracy, mean over all fractions, %: {text} first (ours)", ("mean", name))
            for name, text in (("weight", "low |w̄|"), ("p*weight", "low p·|w̄|"), ("fisher", "low Fisher"))
        ),
        Shown("time of the lesion study without training, s (ours)", ("seconds", "study")),
    ),
    figure=("lesions", "lesions"),
    alt="Accuracy against the share of silenced synapses, one curve per order; bars of accuracy and of bits per energy "
    "of the network with other release probabilities.",
    notes=(DECAY_UNKNOWN,),
)
NO_DIFFERENCE = f"p = {KS_P['output inputs']}"
SIDES = ("input outputs", "hidden 1 inputs", "hidden 1 outputs", "hidden 2 inputs", "hidden 2 outputs")
NEURON_NOTES = (
    DECAY_UNKNOWN,
    Note(
        "The published code has no script for this figure, and the paper reports one run against one shuffle; ours are "
        "medians over several shuffles. D moves in steps of one neuron."
    ),
)
NEURONS = Item(
    "Fig. 4.3a–c",
    "Some neurons have very many important inputs and others very few (a), more of both than with shuffled synapses "
    "(b); and neurons with many important inputs have many important outputs (c).",
    "neurons",
    "python experiments/neurons.py --preset paper",
    config={"decay": DECAY},
    claims=(
        Value("Kolmogorov-Smirnov D, inputs of hidden layer 2 (a)", ("D", SIDES[3]), KS_D[SIDES[3]], 3),
        Limit("its p value, in every run", ("p", SIDES[3]), "<", 0.01, "p < 0.01"),
        Order("highly important neurons, %: true over shuffled (b)", ("highly", SIDES[3], "true"),
              ("highly", SIDES[3], "shuffled")),
        Order("lowly important neurons, %: true over shuffled (b)", ("lowly", SIDES[3], "true"),
              ("lowly", SIDES[3], "shuffled")),
        Value("r of important inputs and outputs, hidden layer 1 (c)", ("r", "hidden 1"),
              CORRELATION["hidden 1"], 4),
        Limit("p of no correlation, layer 1, in every run (test of ours)", ("p of r", "hidden 1"), "<", 0.01, "–"),
    ),
    figure=("neurons", "neurons"),
    alt="Histogram of important inputs per neuron, true and shuffled; bars of lowly, average and highly important "
    "neurons; important outputs against important inputs of the hidden neurons.",
    notes=NEURON_NOTES,
)  # fmt: skip
SIDES_ITEM = Item(
    "Fig. 4.7a,b",
    "The same for all layers: important synapses per neuron differ from shuffled ones (p < 0.01) on every side but the "
    f"ten output neurons ({NO_DIFFERENCE}), and inputs correlate with outputs in both hidden layers.",
    "neurons",
    "python experiments/neurons.py --preset paper",
    config={"decay": DECAY},
    claims=(
        *(Limit(f"Kolmogorov-Smirnov p, {side}", ("p", side), "<", 0.01, "p < 0.01") for side in SIDES),
        Limit("Kolmogorov-Smirnov p, output inputs", ("p", "output inputs"), ">", 0.05,
              f"{NO_DIFFERENCE}: no difference"),
        Value("r of important inputs and outputs, hidden layer 1", ("r", "hidden 1"), CORRELATION["hidden 1"], 4),
        Value("r of important inputs and outputs, hidden layer 2", ("r", "hidden 2"), CORRELATION["hidden 2"], 4),
        Limit("p of no correlation, layer 2, in every run (test of ours)", ("p of r", "hidden 2"), "<", 0.01, "–"),
    ),
    figure=("neurons", "neurons_sides"),
    alt="Six histograms of important synapses per neuron, true and shuffled: inputs and outputs of every layer.",
    notes=(*NEURON_NOTES, Note("With ten output neurons D moves in steps of 0.1: 0.4 gives the published "
                               f"{NO_DIFFERENCE}, "
                               "and the next step, 0.5, gives p = 0.17.", always=True)),
)  # fmt: skip


def _less_decay(item: Item) -> Item:
    # The paper does not say which of its weight decays these figures have; 0.01 is the default of its code.
    return replace(
        item,
        name=f"{item.name}, weight decay 0.001",
        headline=f"{item.headline} The same with another weight decay: which one the figure has is not stated.",
        command=f"{item.command} --decay 0.001",
        config={"decay": 0.001},
    )


LESS_DECAY = tuple(_less_decay(item) for item in (NEURONS, SIDES_ITEM))
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
