"""Schwarz et al. 2021, "Powerpropagation: A sparsity inducing weight reparameterisation".

Its figures are images without numbers, so that only settings and orders can be compared. Settings of Fig. 1 are those
of its notebook.
"""

from synsim.papers.published import Published

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
PRUNED_FROM, PRUNED_UNTIL = 0.2, 0.8
"""Iterative pruning begins and ends after these shares of the steps. The paper gives no constants; these are ours."""
BACKWARD = 0.5
"""Share of the weights that TopKAST updates, of those that its † in Table 1 has; the * has all of them."""
EFFICIENT_GAMMA = 0.9
"""Share of the dense accuracy that a task of EfficientPackNet keeps (Fig. 4)."""
FAR_TASKS, FAR_HIDDEN, FAR_EPOCHS = 300, (1000, 1000), 10
"""Permuted MNIST of Fig. 4: tasks; and, of the protocol of Hsu et al. 2018 that it follows, hidden layers, passes."""
FAR_BATCH, FAR_RATE, FAR_PAD = 128, 1e-4, 2
"""Of that protocol: examples per step, Adam's learning rate, and pixels around an image (28 × 28 become 32 × 32)."""
AFTER_ALL = Published(86.0, source="text on Fig. 4", text="≈ 86")
"""Average accuracy of EfficientPackNet with Powerpropagation after 300 tasks, %; of which power is not said."""
