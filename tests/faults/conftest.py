"""How many faults of each kind were tried and held against, said at the end of a run of these tests."""

import collections

import pytest

# Tests of which every case is a fault of one kind.
KINDS = {
    "test_a_full_disk_leaves_the_old_files_whole": "writes on full disks left the old files whole",
    "test_only_regular_files_of_a_stated_size_are_read": "hostile folders refused",
    "test_what_unpacks_to_more_or_points_elsewhere_is_refused_before_it_is_read": "hostile folders refused",
    "test_a_forged_description_is_refused_and_named": "hostile folders refused",
    "test_strange_json_with_fitting_digests": "hostile folders refused",
    "test_forged_rows": "hostile folders refused",
    "test_names_of_files_never_leave_a_folder": "names of files stayed in their folder",
    "test_a_signal_saves_at_the_next_step_and_the_run_goes_on_to_the_same_bits": "signals ended in a saved state",
    "test_a_run_that_cannot_start_leaves_nothing_and_bars_nobody": "runs that could not start left nothing",
    "test_a_shell_that_cannot_take_the_output": "shells that took no output got a finished run",
}
COUNTS: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)


@pytest.fixture
def tally():
    """Add to the count of a kind: (what held, how many held, how many were tried)."""

    def add(what: str, held: int, tried: int) -> None:
        COUNTS[what].update(held=held, tried=tried)

    return add


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    kind = KINDS.get(item.originalname if isinstance(item, pytest.Function) else "")
    if kind is not None and report.when == "call" and not report.skipped:
        COUNTS[kind].update(held=report.passed, tried=1)
    return report


def pytest_terminal_summary(terminalreporter):
    for what, count in COUNTS.items():
        terminalreporter.write_line(f"{count['held']:,} of {count['tried']:,} {what}")
