"""The front door: what an import brings, costs and needs, and what completion and a type checker see of it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

import synsim

ROOT = Path(synsim.__file__).resolve().parent.parent
ROOMS = sorted(
    path.stem
    for path in (ROOT / "synsim").iterdir()
    if path.name[0] not in "_." and (path.is_dir() or path.suffix == ".py")
)
HEAVY = {
    "numba",
    "scipy",
    "xarray",
    "pandas",
    "sklearn",
    "h5py",
    "h5netcdf",
    "matplotlib",
    "requests",
    "brian2",
    "dask",
}

PASS = """
import torch, synsim
net = synsim.mlp([4, 3], p=0.5, seed=7)
print([round(value, 5) for value in net(torch.ones(2, 4)).flatten().tolist()])
"""
READ_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


def run(code: str, *flags: str, path: Path = ROOT, before: tuple[str, ...] = (), **variables: str) -> str:
    known = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    env = known | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | variables
    command = [*before, sys.executable, *flags, "-c", code]
    done = subprocess.run(command, env=env, cwd=path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def transmitted() -> str:
    values = synsim.mlp([4, 3], p=0.5, seed=7)(torch.ones(2, 4)).flatten().tolist()
    return f"{[round(value, 5) for value in values]}\n"


@pytest.fixture(scope="module")
def readable(tmp_path_factory):
    # A copy of the package which nobody may write to, in folders through which everybody may pass.
    base = Path(tempfile.mkdtemp(prefix="synsim-copy-"))
    shutil.copytree(ROOT / "synsim", base / "synsim", ignore=shutil.ignore_patterns("__pycache__"))
    folders = [base, *(path for path in base.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    yield base
    for path in folders:
        path.chmod(0o755)
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def unprivileged() -> tuple[str, ...]:
    # Root may write anywhere, so its tests run as nobody who may read everything.
    if os.name != "posix" or os.getuid() != 0:
        return ()
    command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *READ_ALL)
    if (
        shutil.which("setpriv") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("root can't become another user here: there is no setpriv")
    return command


@pytest.mark.parametrize("room", ROOMS)
def test_completion_lists_every_room_and_access_finds_it(room):
    assert room in dir(synsim)
    # One name is that of a room and of the function which the room is about.
    assert getattr(synsim, room).__name__ in (f"synsim.{room}", "synapses")


def test_an_unknown_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trainings'"):
        _ = synsim.trainings


def test_a_type_checker_sees_every_room(tmp_path):
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    names = [room for room in ROOMS if room != "synapses"]
    lines = ["import synsim", "synsim.training.fit(synsim.mlp([2, 2]), None, [], seeds=[0])", "synsim.trainings"]
    program.write_text("\n".join(lines + [f"synsim.{name}.__name__" for name in names]))
    cache = ROOT / ".mypy_cache" if (ROOT / ".mypy_cache").is_dir() else tmp_path / "cache"
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--cache-dir", str(cache)]
    text, errors, _ = api.run([*options, str(program)])
    assert not errors
    found = [line for line in text.splitlines() if "error:" in line]
    assert len(found) == 2, text
    assert 'program.py:2: error: Argument 2 to "fit" has incompatible type "None"' in found[0]
    assert 'program.py:3: error: Module has no attribute "trainings"' in found[1]


def test_the_import_brings_no_heavy_library():
    text = run("import torch, sys; before = set(sys.modules); import synsim; print(*set(sys.modules) - before)")
    assert "synsim.synapses.linear" in text.split()
    assert not HEAVY & {name.split(".")[0] for name in text.split()}


def test_an_experiment_starts_without_what_only_its_tests_need():
    # A third of the start; SciPy imports its parts when they are asked for.
    text = run("import synsim.experiment, synsim.sweeps.worker, sys; print(*sys.modules)").split()
    assert "synsim.statistics.comparing" in text
    assert not {"scipy.stats", "scipy.optimize"} & set(text)


@pytest.mark.parametrize("flags", [("-I", "-W", "error"), pytest.param(("-OO",), marks=pytest.mark.slow)])
def test_options_of_the_interpreter_change_nothing(flags, transmitted):
    assert run(f"import sys; sys.path.insert(0, {str(ROOT)!r})" + PASS, *flags) == transmitted


def test_the_state_of_torch_at_the_import_does_not_stay(transmitted):
    code = """
import torch
torch.set_default_dtype(torch.float64)
with torch.device("meta"), torch.inference_mode():
    import synsim
    for name in dir(synsim):
        getattr(synsim, name)
torch.set_default_dtype(torch.float32)
"""
    assert run(code + PASS, PYTHONHASHSEED="5") == transmitted


def test_a_user_without_home_needs_no_folder(readable, unprivileged, transmitted):
    nowhere = "import tempfile; tempfile.tempdir = '/dev/null/nowhere'"
    code = f"{nowhere}{PASS}print(synsim.__file__)"
    text = run(code, path=readable, before=unprivileged, HOME="/dev/null")
    assert text == f"{transmitted}{readable / 'synsim' / '__init__.py'}\n"


def test_a_user_without_home_keeps_kernels_in_a_private_temporary_folder(readable, unprivileged, transmitted):
    with tempfile.TemporaryDirectory(prefix="synsim-tmp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        code = f"{PASS}print(sum(synsim.kernels.cpu.release.stats.cache_hits.values()))"
        texts = [run(code, path=readable, before=unprivileged, TMPDIR=folder) for _ in range(2)]
        assert texts == [f"{transmitted}0\n", f"{transmitted}1\n"]
        (kept,) = Path(folder).iterdir()
        assert kept.name.startswith("synsim-numba-")
        assert kept.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["symbolic link", "open to others", "file"])
def test_what_others_may_write_to_is_no_private_folder(tmp_path, monkeypatch, what):
    from synsim.kernels.compiling import private_folder

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = private_folder()
    assert folder is not None
    assert folder.parent == tmp_path
    folder.rmdir()
    if what == "symbolic link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif what == "file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert private_folder() is None


def kernel(path: Path):
    # The kernel of a file, as a new process would have it.
    spec = importlib.util.spec_from_file_location("twice_of_a_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


@pytest.fixture
def twice(tmp_path, monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "twice.py"
    path.write_text("from synsim.kernels.compiling import njit\n@njit()\ndef twice(x):\n    return 2 * x\n")
    first = kernel(path)
    assert first(4) == 8
    assert not first.stats.cache_hits
    second = kernel(path)
    assert second(4) == 8
    assert sum(second.stats.cache_hits.values()) == 1
    return path


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "text": lambda data: b"not a pickle",
    "zeros": lambda data: bytes(len(data)),
    "another object": lambda data: b"\x80\x04K\x01.\x80\x04K\x01.",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_damaged_file_of_kept_kernels_is_made_anew(twice, tmp_path, ending, damage):
    (path,) = (tmp_path / "cache").rglob(f"*.{ending}")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert kernel(twice)(4) == 8
    again = kernel(twice)
    assert again(4) == 8
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_folder_that_disappears_or_fills_is_no_reason_to_fail(twice, tmp_path, monkeypatch):
    from numba.core.caching import IndexDataCacheFile

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_index", full)
    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    function = kernel(twice)
    shutil.rmtree(tmp_path / "cache")
    assert function(4) == 8
    assert function(4.5) == 9.0


def test_all_kernels_are_stale_when_the_file_of_one_changes(twice, monkeypatch):
    from synsim.kernels import compiling

    monkeypatch.setattr(compiling, "_sources", lambda: "other sources")
    function = kernel(twice)
    assert function(4) == 8
    assert not function.stats.cache_hits


def test_kernels_run_uncompiled_for_those_who_debug(twice, monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    function = kernel(twice)
    assert function(4) == 8
    assert not hasattr(function, "stats")
