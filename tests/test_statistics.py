"""Statistics over replicas, held against SciPy, closed forms and published numbers."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synsim import statistics
from synsim.statistics.effects import noncentral_cdf

STANDARD = [0.878, 0.900, 0.914, 0.898, 0.892, 0.872, 0.860, 0.886, 0.882, 0.880]
PRESYNAPTIC = [0.896, 0.930, 0.908, 0.910, 0.942, 0.910, 0.938, 0.902, 0.922, 0.916]
NAN = float("nan")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# summary and interval


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 3, 2), (2, 4), (5, 0)])
def test_summary_is_that_of_numpy_and_scipy(shape: tuple[int, ...]) -> None:
    values = normal(*shape) + 1e6
    mean, sem, sd, n = statistics.summary(values)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(sd, values.std(0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(sem, stats.sem(values, axis=0), rtol=1e-9)
    assert np.shape(sem) == shape[1:]
    assert np.array_equal(n, np.full(shape[1:], shape[0]))


def test_summary_along_another_axis() -> None:
    values = normal(4, 6, 3)
    for ours, theirs in zip(statistics.summary(values, 1), statistics.summary(values.swapaxes(0, 1)), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(statistics.summary(values, -1).mean, statistics.summary(values, 2).mean)


@pytest.mark.parametrize(
    "convert",
    [
        list, tuple, torch.tensor, lambda v: list(torch.tensor(v)), lambda v: torch.tensor(v).unbind(),
        lambda v: torch.tensor(v, requires_grad=True), lambda v: np.array(v)[::-1][::-1],
    ],
)  # fmt: skip
def test_what_summary_takes(convert) -> None:
    summary = statistics.summary(convert([1.0, 2.0, 6.0]))
    assert summary == (3.0, math.sqrt(7 / 3), math.sqrt(7), 3)
    assert all(np.ndim(part) == 0 for part in summary)
    assert isinstance(summary.mean, float)


def test_failed_replicas_are_left_out() -> None:
    values = np.array([[1.0, NAN, NAN, 5.0], [2.0, 4.0, NAN, np.inf], [6.0, NAN, NAN, 7.0]])
    mean, sem, sd, n = statistics.summary(values)
    np.testing.assert_array_equal(n, [3, 1, 0, 2])
    np.testing.assert_array_equal(mean, [3, 4, NAN, 6])
    np.testing.assert_allclose(sd, [math.sqrt(7), NAN, NAN, math.sqrt(2)])
    np.testing.assert_allclose(sem, [math.sqrt(7 / 3), NAN, NAN, 1])
    low, high = statistics.interval(values)
    np.testing.assert_array_equal(np.isnan(low), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(high), np.isnan(low))


@pytest.mark.parametrize("value", [0.1, 0.7, 1e300, -1 / 3])
@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_equal_values_have_no_spread_at_all(value: float, n: int) -> None:
    assert statistics.summary([value] * n) == (value, 0.0, 0.0, n)
    assert statistics.interval([value] * n) == (value, value)


def test_nothing_to_summarise() -> None:
    assert np.isnan(statistics.summary([]).mean)
    assert statistics.summary([]).n == 0
    assert np.isnan(statistics.summary(np.zeros((0, 4))).sem).all()


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_interval_is_that_of_scipy(level: float) -> None:
    values = normal(6, 3)
    low, high = statistics.interval(values, level)
    expected = stats.t.interval(level, 5, loc=values.mean(0), scale=stats.sem(values))
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)
    one = statistics.interval(values[:, 0].tolist(), level)
    assert (one.low, one.high) == (low[0], high[0])


def test_interval_holds_the_mean_as_often_as_it_says() -> None:
    low, high = statistics.interval(normal(4, 20_000), level=0.9)
    held = ((low < 0) & (high > 0)).mean()
    assert abs(held - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 20_000)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, NAN])
def test_levels_are_shares(level: float) -> None:
    for call in (
        lambda: statistics.interval([1.0, 2.0], level),
        lambda: statistics.compare([1.0, 2.0], [3.0, 5.0], level=level),
        lambda: statistics.compare([1.0, 2.0], [3.0, 5.0], level=level, paired=True),
    ):
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            call()


# tests


def test_the_published_perceptron() -> None:
    found = statistics.compare(STANDARD, PRESYNAPTIC)
    assert found.t == pytest.approx(-4.539, abs=5e-4)
    assert found.p == pytest.approx(2.5e-4, abs=5e-6)
    assert found.df == 18
    assert found.n == (10, 10)
    assert found.difference == pytest.approx(-0.0312)
    assert found.hedges_g < 0


@pytest.mark.parametrize(
    ("mean", "sem", "t", "p"),
    [(77.68, 0.31, 16.8, 7.3e-5), (80.44, 0.45, 5.47, 0.005), (70.41, 4.20, 2.97, 0.041)],
)
def test_the_published_split_table(mean: float, sem: float, t: float, p: float) -> None:
    found = statistics.from_summary(82.90, 0.01, 3, mean, sem, 3)
    assert found.t == pytest.approx(t, abs=0.05 if t > 10 else 0.005)
    assert found.p == pytest.approx(p, rel=0.1)
    assert found.df == 4
    assert found.difference == pytest.approx(82.90 - mean)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("sizes", [(2, 2), (3, 5), (10, 4)])
def test_compare_is_that_of_scipy(equal: bool, sizes: tuple[int, int]) -> None:
    a, b = normal(sizes[0]) * 3 + 1, normal(sizes[1], seed=1)
    found = statistics.compare(a, b, equal_variance=equal)
    expected = stats.ttest_ind(a, b, equal_var=equal)
    assert (found.t, found.p, found.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
    rebuilt = statistics.from_summary(
        a.mean(), stats.sem(a), len(a), b.mean(), stats.sem(b), len(b), equal_variance=equal
    )
    np.testing.assert_allclose(np.hstack(rebuilt), np.hstack(found), rtol=1e-9)


def test_pairs_are_those_of_scipy() -> None:
    a, b = normal(7), normal(7, seed=1) / 2
    found = statistics.compare(torch.tensor(a), list(b), paired=True)
    expected = stats.ttest_rel(a, b)
    assert (found.t, found.p, found.df) == pytest.approx((expected.statistic, expected.pvalue, 6))
    assert found.n == (7, 7)
    assert found.difference == pytest.approx((a - b).mean())


def test_failed_replicas_and_pairs_are_left_out_of_tests() -> None:
    a, b = [1.0, NAN, 3.0, 4.0, np.inf], [2.0, 5.0, 3.5, NAN, np.inf]
    alone = statistics.compare(a, b)
    expected = statistics.compare([1.0, 3.0, 4.0], [2.0, 5.0, 3.5])
    np.testing.assert_allclose(np.hstack(alone), np.hstack(expected), rtol=1e-12)
    assert alone.n == (3, 3)
    pairs = statistics.compare(a, b, paired=True)
    expected = statistics.compare([1.0, 3.0], [2.0, 3.5], paired=True)
    np.testing.assert_allclose(np.hstack(pairs), np.hstack(expected), rtol=1e-12)
    assert pairs.n == (2, 2)
    assert statistics.compare([1.0, 2.0, 4.0, NAN], [3.0, 5.0]).n == (3, 2)


@pytest.mark.parametrize(("paired", "equal"), [(False, True), (False, False), (True, True)])
def test_exchanging_a_and_b_turns_the_signs(paired: bool, equal: bool) -> None:
    a, b = normal(6) + 1, normal(6, seed=1) * 2
    one = statistics.compare(a, b, paired=paired, equal_variance=equal)
    two = statistics.compare(b, a, paired=paired, equal_variance=equal)
    assert one.p == pytest.approx(two.p)
    assert (one.t, one.hedges_g, one.difference) == pytest.approx((-two.t, -two.hedges_g, -two.difference))
    assert tuple(one.g_interval) == pytest.approx((-two.g_interval.high, -two.g_interval.low))
    assert (one.difference > 0) == (one.hedges_g > 0) == (one.t > 0)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_without_any_variance_there_is_no_test(paired: bool, shift: float) -> None:
    found = statistics.compare([0.1] * 3, [0.1 + shift] * 3, paired=paired)
    assert found.difference == pytest.approx(-shift)
    assert found.df == (2 if paired else 4)
    assert all(math.isnan(value) for value in (found.t, found.p, found.hedges_g, *found.g_interval))


@pytest.mark.parametrize("equal", [True, False])
def test_variance_on_one_side_only(equal: bool) -> None:
    found = statistics.compare([1.0, 1.0, 1.0], [2.0, 3.0, 7.0], equal_variance=equal)
    expected = stats.ttest_ind_from_stats(1, 0, 3, 4, math.sqrt(7), 3, equal_var=equal)
    assert (found.t, found.p) == pytest.approx(tuple(expected))
    assert np.isfinite(found.g_interval).all()


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ([1.0], [1.0, 2.0], {}, "two replicas on each side, got n = 1 and 2"),
        ([1.0, NAN], [1.0, 2.0], {}, "got n = 1 and 2. Run more seeds"),
        ([1.0, 2.0], [], {}, "got n = 2 and 0"),
        ([1.0, 2.0], [NAN, 2.0], {"paired": True}, "two pairs of replicas, got 1"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], {"paired": True}, "as many replicas in a as in b, got 2 and 3"),
        (np.ones((2, 2)), np.ones((2, 2)), {}, r"one number per replica, got shapes \(2, 2\)"),
        (1.0, 2.0, {}, "one number per replica"),
    ],
)
def test_what_can_not_be_tested(a, b, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        statistics.compare(a, b, **options)


@pytest.mark.parametrize("sem", [-0.1, NAN, math.inf])
def test_standard_errors_are_checked(sem: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        statistics.from_summary(1.0, 0.1, 3, 2.0, sem, 3)


# effect sizes


def test_hedges_g_in_closed_form() -> None:
    # even degrees of freedom: Γ(2) = 1 and Γ(3/2) = √π / 2
    a, b = [1.0, 2.0, 3.0], [3.0, 5.0, 7.0]
    sd = math.sqrt((2 * 1 + 2 * 4) / 4)
    j = 1 / (math.sqrt(2) * math.sqrt(math.pi) / 2)
    assert statistics.compare(a, b).hedges_g == pytest.approx(-3 * j / sd)
    pairs = statistics.compare(a, b, paired=True)  # differences -2, -3, -4: df 2, Γ(1) / Γ(1/2)
    assert pairs.hedges_g == pytest.approx(-3 / math.sqrt(math.pi))


@pytest.mark.parametrize("n", [3, 10, 50])
def test_hedges_correction_is_near_its_usual_approximation(n: int) -> None:
    a, b = normal(n), normal(n, seed=1)
    found = statistics.compare(a, b)
    d = found.t * math.sqrt(2 / n)
    assert found.hedges_g / d == pytest.approx(1 - 3 / (4 * (2 * n - 2) - 1), abs=0.008 / n)


def test_hedges_g_is_unbiased() -> None:
    effect = 1.5
    a, b = normal(250, 3) + effect, normal(250, 3, seed=1)
    found = np.array([statistics.compare(x, y).hedges_g for x, y in zip(a, b, strict=True)])
    assert abs(found.mean() - effect) < 4 * found.std() / math.sqrt(len(found))


def test_welch_with_equal_spread_and_size_is_student() -> None:
    a = normal(5)
    student, welch = (statistics.compare(a, a[::-1] + 1, equal_variance=equal) for equal in (True, False))
    np.testing.assert_allclose(np.hstack(student), np.hstack(welch), rtol=1e-9)


def test_welch_effect_by_hand() -> None:
    found = statistics.compare([1.0, 3.0], [4.0, 6.0, 8.0, 14.0], equal_variance=False)
    a, b = 2.0, 56 / 3  # variances
    df = (a + b) ** 2 / (a**2 / 1 + b**2 / 3)
    j = math.gamma(df / 2) / (math.sqrt(df / 2) * math.gamma((df - 1) / 2))
    assert found.hedges_g == pytest.approx(j * (2 - 8) / math.sqrt((a + b) / 2))


def test_two_pairs_have_no_unbiased_effect() -> None:
    found = statistics.compare([1.0, 2.0], [3.0, 6.0], paired=True)
    assert math.isnan(found.hedges_g)
    assert found.g_interval.low < found.g_interval.high


@pytest.mark.parametrize("t", [0.0, 0.3, 2.0, 4.539, 16.8, 200.0])
@pytest.mark.parametrize("df", [2.0, 4.0, 18.0, 398.0])
def test_the_noncentral_distribution_is_that_of_scipy(t: float, df: float) -> None:
    for shift in t + np.array([-1.5, -0.2, 0.0, 1.0]) * math.sqrt(1 + t**2 / (2 * df)):
        ours, theirs = noncentral_cdf(t, df, shift), stats.nct.cdf(t, df, shift)
        assert ours == pytest.approx(theirs, abs=1e-9)


def test_the_effect_interval_inverts_the_noncentral_distribution() -> None:
    found = statistics.compare(STANDARD, PRESYNAPTIC, level=0.9)
    unit = math.sqrt(2 / 10)
    assert stats.nct.cdf(found.t, 18, found.g_interval.low / unit) == pytest.approx(0.95)
    assert stats.nct.cdf(found.t, 18, found.g_interval.high / unit) == pytest.approx(0.05)


def test_the_effect_interval_of_welch_has_the_degrees_of_freedom_of_the_test() -> None:
    a, b = normal(4) + 1, 3 * normal(9, seed=1)
    found = statistics.compare(a, b, equal_variance=False)
    unit = math.hypot(stats.sem(a), stats.sem(b)) / math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    for end, tail in zip(found.g_interval, (0.975, 0.025), strict=True):
        assert stats.nct.cdf(found.t, found.df, end / unit) == pytest.approx(tail, abs=1e-7)


def test_the_effect_interval_without_any_difference() -> None:
    found = statistics.compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    reach = stats.norm.ppf(0.975) * math.sqrt(2 / 3)  # T = 0 iff Z = -shift
    assert tuple(found.g_interval) == pytest.approx((-reach, reach))
    assert found.p == 1


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4, 1e8])
def test_the_effect_interval_leaves_out_zero_iff_significant(equal: bool, size: float) -> None:
    a, b = normal(4) + size, normal(6, seed=1)
    for level in (0.5, 0.9, 0.99):
        found = statistics.compare(a, b, equal_variance=equal, level=level)
        assert found.g_interval.low < found.hedges_g < found.g_interval.high
        assert (found.g_interval.low > 0 or found.g_interval.high < 0) == (found.p < 1 - level)


# corrections and words


def test_holm_worked_example() -> None:
    # sorted: 0.005 · 4, 0.01 · 3, 0.03 · 2, 0.04 · 1, the last raised to the one before it
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm(torch.tensor([0.5, 0.9, 0.5])), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(statistics.holm([0.02, NAN, 0.01]), [0.02, NAN, 0.02])
    assert statistics.holm([0.03]) == [0.03]
    assert statistics.holm([]).shape == (0,)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p: list[float]) -> None:
    adjusted = statistics.holm(p)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - rank) > level:
                break
            rejected.add(int(index))
        assert {index for index, value in enumerate(adjusted) if value <= level} == rejected


@pytest.mark.parametrize("p", [[0.1, 1.1], [-0.1], [[0.1]], 0.1, [math.inf]])
def test_holm_takes_one_row_of_p_values(p) -> None:
    with pytest.raises(ValueError, match="one row of numbers between 0 and 1"):
        statistics.holm(p)


def test_stars() -> None:
    marks = [statistics.stars(p) for p in (0.0, 0.0099, 0.01, 0.049, 0.05, 1.0, NAN)]
    assert marks == ["**", "**", "*", "*", "", "", ""]


@pytest.mark.parametrize(
    ("mean", "sem", "text"),
    [
        (82.93, 0.41, "82.9 ± 0.4"),
        (82.9, 0.01, "82.90 ± 0.01"),
        (77.68, 0.096, "77.7 ± 0.1"),
        (0.8862, 0.0049, "0.886 ± 0.005"),
        (-0.0312, 0.0069, "-0.031 ± 0.007"),
        (99.96, 0.96, "100 ± 1"),
        (70.41, 4.2, "70 ± 4"),
        (12345.6, 234.5, "12346 ± 234"),
        (82.93, NAN, "82.93"),
        (0.1, 0.0, "0.1 ± 0"),
        (82.9, 1e-15, "82.9 ± 0"),
        (0.0, 0.0, "0 ± 0"),
        (0.0, 0.2, "0.0 ± 0.2"),
        (NAN, NAN, "nan"),
        (1.234e-6, 3.6e-8, "(1.23 ± 0.04)e-06"),
        (-2.5e7, 3e5, "(-2.50 ± 0.03)e+07"),
        (torch.tensor(0.5), np.float32(0.25), "0.5 ± 0.2"),
    ],
)
def test_format_mean(mean, sem, text: str) -> None:
    assert statistics.format_mean(mean, sem) == text


REFUSED = {
    "a single number": (lambda: statistics.summary(0.5), "values must have an axis of replicas, got a single number"),
    "no such axis": (
        lambda: statistics.summary([0.5, 0.6], axis=1),
        r"axis, of values of shape \[2\], must be .* from -1 to 0",
    ),
    "texts": (lambda: statistics.interval(["0.5"]), "values must be real numbers"),
    "rows of another length": (lambda: statistics.compare([1.0, 2.0], [[1.0], [1.0, 2.0]]), "b must be real numbers"),
    "p below 0": (lambda: statistics.stars(-0.5), "p must lie between 0 and 1, or be NaN for no test, got -0.5"),
    "p above 1": (lambda: statistics.stars(2**31), "p must lie between 0 and 1"),
    "an error below 0": (
        lambda: statistics.format_mean(0.5, -0.1),
        "sem must be a standard error, which is not negative",
    ),
    "too many": (
        lambda: statistics.from_summary(1, 1, 10**30, 2, 1, 5),
        "n_a must be a whole number from 2 to 2147483648",
    ),
    "too large": (
        lambda: statistics.from_summary(1, 1e300, 5, 2, 1, 5),
        r"sem_a must be finite and between 0 and 1e\+150",
    ),
    "no mean": (lambda: statistics.from_summary(math.nan, 1, 5, 2, 1, 5), "mean_a must be finite"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("n", [3, 400, 503, 10**6, 2**31])
def test_hedges_correction_of_many_replicas_is_that_of_fifty_digits(n: int) -> None:
    found = statistics.from_summary(1.0, 1 / math.sqrt(n), n, 0.0, 1 / math.sqrt(n), n)
    with mpmath.workdps(50):
        half = mpmath.mpf(2 * n - 2) / 2
        exact = mpmath.exp(mpmath.loggamma(half) - mpmath.loggamma(half - mpmath.mpf(1) / 2)) / mpmath.sqrt(half)
    assert found.hedges_g == pytest.approx(float(exact), rel=1e-12)


def test_differences_of_rounding_are_no_differences():
    a = np.array([71.3, 64.9, 80.1])
    made = statistics.compare(a, a + np.array([0, 0, 1.4e-14]), paired=True)
    assert math.isnan(made.t)
    assert math.isnan(made.p)
    assert statistics.compare(a, a + np.array([0, 0, 1e-9]), paired=True).t == pytest.approx(-1, rel=1e-3)
