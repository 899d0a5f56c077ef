"""Sweeps over dask.distributed: whatever is killed, frozen or started again, every cell is there once, bit for bit."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import psutil
import pytest
import tiny
from test_processes import ROOT, left, serial, swept, wait_for

from synsim import records, sweeps
from synsim.sweeps import cell, cluster, plan, remote, serving, source
from synsim.sweeps.versions import versions

HOST = Path(__file__).parent / "host.py"
TTL = 5
"""Seconds; the scheduler takes no less as long as it has few workers."""


class Hosts:
    """Clusters at one address, one after the other."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = []

    def start(self, workers, nanny=True):
        """Start one; the processes of its workers."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HOST.parent)])}
        command = [sys.executable, str(HOST), str(self.port), str(workers), str(TTL), *([] if nanny else ["alone"])]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.processes.append(process)
        return [psutil.Process(pid) for pid in json.loads(process.stdout.readline())]

    def end(self):
        """End the last one, as a machine ends that loses its power."""
        process = self.processes[-1]
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.stdin.close()
                process.wait(30)
                process.stdout.close()


@pytest.fixture
def hosts():
    made = Hosts()
    yield made
    made.close()


def saved(out):
    return list((out / plan.WORK).glob("*/checkpoint.safetensors"))


def faults(out, hosts, workers):
    """One worker is killed, one frozen past its deadline, and the scheduler is lost and started again."""
    wait_for(lambda: len(saved(out)) >= 2)
    workers[0].send_signal(signal.SIGKILL)
    workers[1].send_signal(signal.SIGSTOP)
    before = len(done(out))
    wait_for(lambda: not workers[1].is_running() or workers[1].status() == psutil.STATUS_ZOMBIE)
    wait_for(lambda: len(done(out)) > before and saved(out))
    hosts.end()
    hosts.start(len(workers))


def done(out):
    return list(out.glob("*/summary.json"))


def swept_through_faults(out, hosts, rates, options, workers=3):
    errors = []

    def sabotage(processes):
        try:
            faults(out, hosts, processes)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=sabotage, args=(hosts.start(workers),))
    thread.start()
    result = sweeps.run(
        tiny.EXPERIMENT, {"rate": rates}, sweeps.Cluster(hosts.address), seeds=(1, 2), out=out, seeds_per_cell=2,
        options=options, quiet=True,
    )  # fmt: skip
    thread.join()
    assert not errors
    return result


def test_every_cell_is_there_once_through_all_faults(tmp_path, hosts):
    rates, steps = [0.5 + index for index in range(24)], 10
    expected = serial({"rate": rates}, tmp_path / "serial", {"steps": steps})
    out = tmp_path / "out"
    result = swept_through_faults(out, hosts, rates, {"steps": steps, "pause": 0.1, "checkpoint_every": 0.0})
    assert result.complete
    assert len(result.cells) == len(rates)
    assert swept(out) == expected
    assert left(out) == []
    resumed = [records.open(out / name).run["resumes"] for name in result.cells]
    assert sum(map(len, resumed)) >= 2  # what was lost went on where it was


@pytest.mark.slow
def test_workers_without_a_nanny_wake_up_and_nothing_is_there_twice(tmp_path, hosts):
    """Longer cells, and a worker that is let go on when another one has its cell: it throws its own away."""
    rates, steps = [0.5 + index for index in range(18)], 20
    expected = serial({"rate": rates}, tmp_path / "serial", {"steps": steps})
    out, errors = tmp_path / "out", []
    (first, second, third) = hosts.start(3, nanny=False)

    def sabotage():
        try:
            wait_for(lambda: len(saved(out)) >= 3)
            first.send_signal(signal.SIGKILL)
            second.send_signal(signal.SIGSTOP)
            held = saved(out)
            wait_for(lambda: any(not path.exists() for path in held) and len(done(out)) > 4, 240)
            second.send_signal(signal.SIGCONT)
            wait_for(lambda: len(done(out)) > 7, 240)
            hosts.end()
            third.kill()
            hosts.start(3)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=sabotage)
    thread.start()
    options = {"steps": steps, "pause": 0.1, "checkpoint_every": 0.0}
    result = sweeps.run(tiny.EXPERIMENT, {"rate": rates}, sweeps.Cluster(hosts.address), seeds=(1, 2), out=out,
                        seeds_per_cell=2, options=options, quiet=True)  # fmt: skip
    thread.join()
    assert not errors
    assert result.complete
    assert swept(out) == expected
    wait_for(lambda: not any(process.is_running() for process in (first, second, third)))
    sweeps.run(tiny.EXPERIMENT, {"rate": rates}, sweeps.Local(1), seeds=(1, 2), out=out, options=options, quiet=True)
    assert left(out) == []


def test_a_worker_that_does_not_see_the_folder_or_is_of_another_version_says_so(tmp_path, monkeypatch):
    here = versions()
    (tmp_path / plan.WORK).mkdir()
    (tmp_path / plan.WORK / cell.TOKEN).write_text("of this sweep")
    assert serving.check(str(tmp_path), "of this sweep", here) == ""
    assert serving.check(str(tmp_path), "of this sweep", {**here, "torch": here["torch"] + "+other.build"}) == ""
    refused = serving.check(str(tmp_path), "of this sweep", {**here, "torch": "1.0", "synsim": "9.9"})
    assert re.search(r"is refused: synsim .* \(where the sweep was started: 9\.9\), torch .*1\.0\)", refused)
    monkeypatch.setattr(cell.check_shared, "__defaults__", (0.0,))
    assert "needs a folder that all of them share" in serving.check(str(tmp_path), "of another one", here)
    assert "can't see" in serving.check(str(tmp_path / "elsewhere"), "of this sweep", here)
    (one,) = plan.cells(source.find(tiny.__file__), {}, (1,), tmp_path, options={}, seeds_per_cell=1)
    assert serving.work(one.message(), "of another one", here)["status"] == "refused"
    (tmp_path / plan.WORK / cell.STOP).touch()
    assert serving.work(one.message(), "of this sweep", here)["status"] == "stopped"
    (tmp_path / plan.WORK / cell.STOP).unlink()
    assert serving.work(one.message(), "of this sweep", here)["status"] == "finished"


def test_what_is_sent_to_a_cluster_imports_nothing_there():
    sent = cloudpickle.dumps([remote.call, versions()])
    code = f"import sys, cloudpickle; cloudpickle.loads({sent!r}); print({{'torch', 'synsim'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give the address of a scheduler"),
        ({"scheduler": "tcp://a:1", "start": "local"}, "give the address of a scheduler"),
        ({"scheduler": "somewhere"}, "must be an address such as"),
        ({"start": "slrum"}, "Did you mean 'slurm'"),
        ({"start": "local", "patience": 0}, "patience"),
        ({"start": "local", "jobs": 0}, "jobs must be"),
    ],
)
def test_a_cluster_that_is_none_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        sweeps.Cluster(**given)


def test_a_cluster_without_what_it_needs_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'synsim[cluster]'")):
        sweeps.Cluster("tcp://a:1")


class Deserted:
    class scheduler:  # noqa: N801
        address = "tcp://host:8786"

    def __init__(self, workers):
        self.workers = workers

    def nthreads(self):
        return self.workers


def test_a_sweep_that_waits_for_workers_says_so():
    company = cluster._Company(patience=0.0)
    with pytest.warns(UserWarning, match="no worker has been at tcp://host:8786 .* 7 cells wait"):
        company.look(Deserted({}), 7)
    company.look(Deserted({"tcp://a:1": 1}), 7)
    patient = cluster._Company(patience=60.0)
    patient.look(Deserted({}), 7)
