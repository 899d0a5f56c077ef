"""
Does another simulator agree?
=============================

The same network, written in Brian2's equations and run there: without releases spike by spike, with releases in the mean.
"""
