"""Descent on neurons and its second-order relatives: rules that look at the inputs and output gradients of layers."""

from synsim.descent.foof import FOOF
from synsim.descent.kfac import KFAC
from synsim.descent.kronecker import kronecker
from synsim.descent.natural import NaturalGradient

__all__ = ["FOOF", "KFAC", "NaturalGradient", "kronecker"]
