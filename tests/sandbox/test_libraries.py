"""Numerical libraries and their processes work in a sandbox, under the whole policy."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from aar.outside.sandbox import client as clients
from aar.outside.sandbox.client import LauncherClient, Output
from aar.outside.sandbox.spec import SandboxSpec

pytestmark = pytest.mark.sandbox

# Started anew, forked and in threads: with locks, queues and shared memory, which live in /dev/shm.
PROCESSES = """
import concurrent.futures, multiprocessing, sys
from multiprocessing import shared_memory
import numpy

def norm(seed):
    return round(float(numpy.linalg.norm(numpy.random.default_rng(seed).normal(size=(50, 50)))), 6)

def double(name):
    block = shared_memory.SharedMemory(name)
    values = numpy.ndarray(4, buffer=block.buf)
    values *= 2
    block.close()

if __name__ == "__main__":
    want = [norm(seed) for seed in range(4)]
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(norm, range(4)) == want
    for executor in (concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor):
        with executor(2) as pool:
            assert list(pool.map(norm, range(4))) == want
    block = shared_memory.SharedMemory(create=True, size=32)
    values = numpy.ndarray(4, buffer=block.buf)
    values[:] = 1
    child = multiprocessing.Process(target=double, args=(block.name,))
    child.start()
    child.join()
    assert values.tolist() == [2, 2, 2, 2]
    del values
    block.close()
    block.unlink()
    a = numpy.random.default_rng(0).normal(size=(60, 60))
    assert numpy.allclose(numpy.linalg.inv(a) @ a, numpy.eye(60))
    import scipy.optimize
    assert scipy.optimize.minimize(lambda x: float((x ** 2).sum()), numpy.ones(3)).success
    print("all of it")
"""

LEARNING = """
import joblib, numpy, os
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

def where(number):
    return os.getpid()

if __name__ == "__main__":
    x, y = make_classification(200, 10, random_state=0)
    assert LogisticRegression().fit(x, y).score(x, y) > 0.7
    assert RandomForestClassifier(20, n_jobs=2, random_state=0).fit(x, y).score(x, y) > 0.9
    # Processes of joblib's own (loky): two of them, and none is this one.
    found = set(joblib.Parallel(n_jobs=2)(joblib.delayed(where)(number) for number in range(8)))
    assert found and os.getpid() not in found
    assert len(cross_val_score(LogisticRegression(), x, y, cv=3, n_jobs=2)) == 3
    print("all of it")
"""

TORCH = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    y = (x.sum(1) > 0).long()
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    steps = torch.optim.Adam(model.parameters(), lr=0.01)
    # Its workers are processes, and hand tensors over in shared memory.
    for _ in range(2):
        for xs, ys in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, num_workers=2):
            loss = nn.functional.cross_entropy(model(xs), ys)
            steps.zero_grad()
            loss.backward()
            steps.step()
    assert (model(x).argmax(1) == y).float().mean() > 0.8
    torch.save(model.state_dict(), "/workspace/model.pt")
    assert torch.load("/workspace/model.pt", weights_only=True)["0.bias"].shape == (16,)
    print("all of it")
"""
OF_TORCH = ("torch", "torchgen", "typing_extensions", "sympy", "mpmath", "filelock", "jinja2", "markupsafe",
            "networkx", "fsspec")  # fmt: skip


def ran(client: LauncherClient, profile: str, script: str) -> Output:
    spec = SandboxSpec(
        name="libraries",
        profile=profile,  # type: ignore[arg-type]
        argv=("/opt/py/bin/python3", "-S", "/workspace/script.py"),
        files={"/workspace/script.py": script.encode()},
        uid_slot=292,
        memory_mib=1024,
        processes=64,
        cpu_s=200,
        wall_s=250.0,
    )
    with client.start(spec, stdin=b"") as running:
        return running.collect(timeout_s=260)


def test_numpy_scipy_and_processes_of_every_kind_work_for_a_researcher(client: LauncherClient) -> None:
    output = ran(client, "researcher", PROCESSES)
    assert (output.stdout, output.stderr, output.exit.code) == (b"all of it\n", b"", 0)


@pytest.mark.slow
def test_scikit_learn_and_joblib_work_where_they_are_in_view(evaluator: LauncherClient) -> None:
    output = ran(evaluator, "bench", LEARNING)
    assert (output.stdout, output.exit.code) == (b"all of it\n", 0), output.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="torch is not installed here: it comes with the extra `hf`",
)
def test_torch_trains_with_loaders_in_processes_under_the_researchers_policy(backend: None) -> None:
    program = Path(__file__).parent / "with_more_packages.py"
    told = subprocess.run(
        [sys.executable, "-P", str(program), *OF_TORCH],
        input=TORCH.encode(),
        env={"PYTHONPATH": str(Path(clients.__file__).parents[3]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert (told.stdout, told.returncode) == (b"all of it\n", 0), told.stderr
