"""Sparse synapses: weights that grow rich sparsify by themselves, and masks of those that stay."""

from synsim.sparse.gradual import Gradual
from synsim.sparse.masks import masked, masks, packed, unpacked
from synsim.sparse.power import power, root, slope
from synsim.sparse.rule import Powerpropagation
from synsim.sparse.space import in_phi
from synsim.sparse.sparsity import Sparsity
from synsim.sparse.topkast import TopKast

__all__ = [
    "Gradual",
    "Powerpropagation",
    "Sparsity",
    "TopKast",
    "in_phi",
    "masked",
    "masks",
    "packed",
    "power",
    "root",
    "slope",
    "unpacked",
]
