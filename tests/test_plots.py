"""Figures and tables refuse what they can't draw, in words; file names keep what looks like a suffix."""

import json

import numpy as np
import pytest
import torch

from synsim import plots, tables

MADE, (AX,) = plots.figure()
ROW = tables.row("a", "b", [0.5, 0.6])

REFUSED = {
    "no column": (lambda: plots.figure(0), "columns must be a whole number from 1 to 50, got 0"),
    "a figure without width": (lambda: plots.figure(width=0), r"width in inches must lie in \(0, 200\], got 0"),
    "a figure without end": (lambda: plots.figure(height=2**63), r"height in inches must lie in \(0, 200\]"),
    "panels without end": (lambda: plots.panels(2**31, 1), "rows must be a whole number from 1 to 50"),
    "ratios": (lambda: plots.panels(1, 2, ratios=[1.0]), "ratios must hold one width per column, 2, got 1"),
    "a ratio": (lambda: plots.panels(1, 1, ratios=[np.nan]), r"every entry of ratios must lie in \(0, 1e6\]"),
    "no name": (lambda: plots.save(MADE, ""), "path must name a file, without suffix, got ''"),
    "no JSON": (lambda: plots.save(MADE, "x", {"a": {(1, 2): 3}}), "data must be numbers and texts"),
    "text for x": (lambda: plots.curve(AX, ["1"], [[1.0]], "a"), "x must be real numbers"),
    "one value for all": (lambda: plots.curve(AX, [1, 2], 0.5, "a"), r"replicas must have two axes, got shape \[\]"),
    "another count": (
        lambda: plots.curve(AX, [1, 2], [[1, 2, 3]], "a"),
        r"one value per position, \[R, 2\], got \[1, 3",
    ),
    "a number below 0": (lambda: plots.curve(AX, [1], [[1.0]], "a", -1), "number must be a whole number of at least 0"),
    "labels": (lambda: plots.bars(AX, ["a"], [[1.0], [2.0]]), "expected one sample per label, got 2 and 1"),
    "numbers": (lambda: plots.dots(AX, ["a"], [[1.0]], [1, 2]), "numbers must hold one per sample, 1, got 2"),
    "no numbers": (lambda: plots.dots(AX, ["a"], [[None]]), "sample 0 must be real numbers"),
    "a row of a matrix": (lambda: plots.heatmap(AX, [1.0], ["a"], ["b"]), "values must have two axes"),
    "rows": (
        lambda: plots.heatmap(AX, [[1.0]], ["a", "b"], ["c"]),
        r"a row for each of 2 labels .* got shape \[1, 1\]",
    ),
    "texts": (lambda: plots.heatmap(AX, [[1.0]], ["a"], ["b"], [["c", "d"]]), "texts must hold one text for each"),
    "a map": (lambda: plots.heatmap(AX, [[1.0]], ["a"], ["b"], colours="no"), "colours must name a map of matplotlib"),
    "limits": (lambda: plots.heatmap(AX, [[1.0]], ["a"], ["b"], limits=(1, 0)), "limits must be a lower and a higher"),
    "no place": (lambda: plots.bracket(AX, np.inf, 1, 1, "a"), r"left must lie in \(-1e300, 1e300\), got inf"),
    "no columns": (lambda: plots.legend_over(MADE, AX, columns=0), "columns must be a whole number from 1"),
    "another page": (lambda: plots.letter(AX, "a", 1e300), r"up, in points, must lie in \[-1e4, 1e4\]"),
    "no bin": (lambda: plots.histogram(AX, [], [[]], "a"), "centres must be finite numbers, one at least"),
    "bins that fall": (lambda: plots.histogram(AX, [2, 1], [[1.0, 2.0]], "a"), "centres must rise in equal steps"),
    "uneven bins": (lambda: plots.histogram(AX, [1, 2, 4], [[1.0, 2, 3]], "a"), "centres must rise in equal steps"),
    "bins": (lambda: plots.histogram(AX, [0, 1], [[1.0]], "a"), r"shares must hold one value per bin, \[R, 2\]"),
    "no spikes": (lambda: plots.raster(AX, [[0.0, 0.5]]), r"spikes must be 0 or 1, \[T, n\] of one example, got"),
    "a row of spikes": (lambda: plots.raster(AX, [0, 1]), r"spikes must have two axes, got shape \[2\]"),
    "spikes of nobody": (lambda: plots.raster(AX, {}), "spikes must hold one population at least"),
    "other steps": (lambda: plots.raster(AX, {"a": [[1]], "b": [[1], [0]]}), r"the same number of steps, got \[1, 2\]"),
    "a step of no time": (lambda: plots.raster(AX, [[1]], dt=0), r"dt in ms must lie in \(0, 1e9\]"),
    "a membrane beyond": (lambda: plots.membranes(AX, [[np.inf]]), "v must hold finite numbers"),
    "spikes of others": (lambda: plots.membranes(AX, [[0.1]], spikes=[[1, 0]]), "spikes must be shaped like v"),
    "a neuron too many": (lambda: plots.membranes(AX, [[0.1]], neurons=[1]), "every one of neurons must be"),
    "no neuron": (lambda: plots.membranes(AX, [[0.1]], neurons=[]), "neurons must name one at least"),
    "releases of others": (lambda: plots.release(AX, [[1]], [[1, 0]]), "released must be shaped like the spikes"),
    "more than its sites": (lambda: plots.release(AX, [[1]], [[2]]), "whole numbers from 0 to sites = 1"),
    "out of nothing": (lambda: plots.release(AX, [[0, 1]], [[1, 1]]), "released must be 0 where there is no spike"),
    "a row of two axes": (lambda: tables.row("a", "b", [[1.0]]), "values must have one axis"),
    "sparse values": (
        lambda: tables.row("a", "b", torch.eye(3).to_sparse()),
        "values must be real numbers .*sparse_coo",
    ),
    "no published": (lambda: tables.row("a", "b", [1.0], np.nan), "published must lie in"),
    "an empty row": (
        lambda: tables.text([{}]),
        r"rows\[0\] must have the keys .* and lacks method, .*synsim.tables.row",
    ),
    "a name": (lambda: tables.text([ROW, ROW | {"method": 1}]), r"rows\[1\] must hold texts .* got method=1"),
    "an error": (lambda: tables.text([ROW | {"sem": -0.1}]), r"rows\[0\] must hold .* got sem=-0.1"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_name_with_a_point_stays_whole(tmp_path):
    files = plots.save(MADE, tmp_path / "p=0.5", {"a": np.arange(2)})
    assert [file.name for file in files] == ["p=0.5.pdf", "p=0.5.png", "p=0.5.json"]
    assert all(file.stat().st_size for file in files)
    assert json.loads(files[2].read_text()) == {"a": [0, 1]}
    assert plots.save(MADE, str(tmp_path / "p=0.5.pdf")) == files[:2]


def test_everything_that_holds_numbers_is_drawn():
    values = torch.tensor([[0.1, 0.2], [0.3, float("nan")]], dtype=torch.bfloat16)
    for given in (values, values.double().numpy(), values.tolist(), list(values)):
        made, axes = plots.panels(2, 3, ratios=[1, 2, 3])
        first, *rest = axes.flatten()
        line = plots.curve(first, [1, 2], given, "a").lines[0]
        np.testing.assert_allclose(line.get_ydata(), [0.2, 0.2], atol=1e-3)
        plots.bars(rest[0], ["a", "b"], given, [3, 4])
        plots.dots(rest[1], ["a", "b"], given)
        plots.heatmap(rest[2], given, ["a", "b"], ["c", "d"], [["1", ""], ["", "2"]])
        plots.histogram(rest[3], [0.5, 1.5], given, "a")
        assert tables.row("a", "b", list(given[0]))["mean"] == pytest.approx(0.15, abs=1e-3)
        made.clear()


def test_a_legend_over_all_panels_has_lines_of_one_length():
    for count, longest, lines in ((5, 5, 1), (6, 30, 2), (0, 1, 1)):
        made, (ax,) = plots.figure(width=7.0)
        for number in range(count):
            ax.plot([0, 1], label=f"{number}" * longest)
        plots.legend_over(made, ax)
        (legend,) = made.legends
        assert legend._ncols == max(1, count // lines)


@pytest.mark.parametrize(("count", "long", "columns"), [(3, 3, 3), (3, 8, 2), (4, 10, 2), (2, 30, 1)])
def test_a_legend_above_a_panel_has_as_few_lines_as_fit_and_hides_nothing(count, long, columns):
    made, (ax, _, _) = plots.figure(3, width=7.0)
    for number in range(count):
        ax.plot([0, 1], [0, number], label=f"{number}" * long)
    plots.legend_above(ax)
    made.canvas.draw()
    legend = ax.get_legend()
    assert legend._ncols == columns
    assert legend.get_window_extent().y0 >= ax.get_window_extent().y1


def test_a_panel_without_labels_has_no_legend():
    (ax,) = plots.figure()[1]
    assert plots.legend_above(ax).get_legend() is None


def test_a_legend_of_many_lines_stays_inside_of_its_panel():
    made, (ax, _, _) = plots.figure(3, width=7.0)
    for number in range(7):
        ax.plot([0, 1], [0, number], label=f"{number}" * 14)
    plots.legend_above(ax)
    made.canvas.draw()
    assert ax.get_legend().get_window_extent().y1 <= ax.get_window_extent().y1


def test_a_histogram_of_one_bin_is_one_wide():
    ax = plots.figure()[1][0]
    plots.histogram(ax, [0.0], [[100.0]], "none is important")
    assert [patch.get_data().edges.tolist() for patch in ax.patches] == [[-0.5, 0.5]] * 2


def _lines(ax):
    return [segment for lines in ax.collections for segment in lines.get_segments()]


def test_a_raster_has_a_tick_for_each_spike_of_its_neuron():
    _, (ax,) = plots.figure()
    first, second = np.zeros((6, 3)), torch.zeros(6, 2)
    first[4, 2] = first[1, 0] = 1
    second[5, 1] = 1
    plots.raster(ax, {"input": first, "hidden 1": second}, dt=0.5)
    middles = sorted((float(segment[0][0]), float(segment[:, 1].mean())) for segment in _lines(ax))
    # The second population begins above the three neurons of the first, and a gap.
    assert np.allclose(middles, [(0.5, 0.0), (2.0, 2.0), (2.5, 3 + 1 + 1)])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["input", "hidden 1"]
    assert ax.get_xlim()[1] == 3.0


def test_membranes_stand_above_each_other_and_mark_spikes():
    _, (ax,) = plots.figure()
    v = np.array([[0.0, 1.0, 9.0], [0.5, 0.0, 9.0]])
    fired = np.array([[0, 0, 1], [1, 0, 0]])
    plots.membranes(ax, v, spikes=fired, threshold=0.4, neurons=[1, 0], dt=2.0)
    lines = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 2 and line.get_linestyle() == "-"]
    spread = 1.25 * 1.0
    assert np.allclose(lines, [[1.0, 0.0], [spread, spread + 0.5]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "0"]
    (mark,) = _lines(ax)
    assert mark[0].tolist() == pytest.approx([2.0, spread + 0.4])


def test_release_shows_which_spikes_failed():
    _, (ax,) = plots.figure()
    spikes, released = np.zeros((5, 4)), np.zeros((5, 4))
    spikes[1, 0] = spikes[2, 3] = spikes[4, 1] = 1
    released[2, 3], released[4, 1] = 2, 1
    plots.release(ax, spikes, released, sites=2)
    rings, discs = ax.collections
    assert sorted(map(tuple, rings.get_offsets())) == [(1, 0), (2, 3), (4, 1)]
    assert sorted(map(tuple, discs.get_offsets())) == [(2, 3), (4, 1)]
    areas = dict(zip(map(tuple, discs.get_offsets()), discs.get_sizes(), strict=True))
    assert areas[2, 3] == 2 * areas[4, 1]
