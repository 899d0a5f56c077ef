"""Conjugate gradients against the solution of the whole system."""

import pytest
import torch

from synsim.descent.conjugate import conjugate


def systems(replicas=3, n=8):
    numbers = torch.Generator().manual_seed(1)
    roots = torch.randn(replicas, n, n, generator=numbers, dtype=torch.float64)
    matrices = roots @ roots.mT + 0.1 * torch.eye(n, dtype=torch.float64)
    return matrices, torch.randn(replicas, n, generator=numbers, dtype=torch.float64)


def times(matrices):
    return lambda x: (matrices @ x[..., None])[..., 0]


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-12])
def test_the_residual_is_below_the_tolerance_and_no_further_than_asked(tolerance):
    matrices, right = systems()
    found = conjugate(times(matrices), right, tolerance)
    left = (times(matrices)(found) - right).norm(dim=1) / right.norm(dim=1)
    assert bool((left <= 1.01 * tolerance).all())
    if tolerance > 1e-3:
        assert float(left.max()) > 1e-10


def test_replicas_that_have_done_or_failed_leave_the_others_alone():
    matrices, right = systems()
    right[0] = 0
    matrices[1] = torch.nan
    found = conjugate(times(matrices), right, 1e-12)
    assert not bool(found[0].any())
    assert bool(found[1].isnan().all())
    alone = conjugate(times(matrices[2:]), right[2:], 1e-12)[0]
    assert torch.allclose(found[2], alone, rtol=1e-12, atol=0)
    right[2, 3] = torch.inf
    assert bool(conjugate(times(matrices), right, 1e-12)[2].isnan().all())


def test_a_system_that_does_not_converge_is_named():
    values = torch.logspace(0, 14, 400, dtype=torch.float64)
    with pytest.warns(UserWarning, match="stopped after 1000 iterations at a residual of .*, above tolerance=1e-12"):
        conjugate(lambda x: values * x, torch.ones(2, 400, dtype=torch.float64), 1e-12)
