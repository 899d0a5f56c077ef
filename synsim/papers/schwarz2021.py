"""Schwarz et al. 2021, "Powerpropagation: A sparsity inducing weight reparameterisation".

Its figures are images without numbers, so that only settings and orders can be compared. Settings of Fig. 1 are those
of its notebook.
"""

HIDDEN = (300, 100)
"""Hidden layers of LeNet-300-100."""
RATE, BATCH, STEPS = 0.1, 60, 50_000
HELD_OUT = 5000
"""Last training images, which are not trained on."""
ALPHAS = (1.0, 2.0, 3.0, 4.0, 5.0)
OUTPUT = 2.0
"""The output layer keeps so many times the share of the others."""
TRUNCATED = 0.87962566103423978
"""Standard deviation of a standard normal that is cut at ± 2, by which that of the initial weights is divided."""
EFFICIENT_GAMMA = 0.9
"""Share of the dense accuracy that a task of EfficientPackNet keeps (Fig. 4)."""
