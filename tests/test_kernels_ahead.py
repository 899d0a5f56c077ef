"""The kernels for CUDA compile for the cards of today, ahead of time and without one."""

import re

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
triton = pytest.importorskip("triton", reason="Triton is not installed; it comes with CUDA builds of torch")

CARDS = (80, 90, 100)
"""A100, H100 and H200, B200."""
EACH = [(card, kind) for card in CARDS for kind in ("fp32", "fp64")]


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))


def compiled(kernel, signature, constants, card):
    source = triton.compiler.ASTSource(
        fn=kernel,
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs=constants,
    )
    return triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", card, 32))


def require_machine_code(made, card):
    assert re.search(rf"\.target sm_{card}", made.asm["ptx"])
    assert made.asm["cubin"][:4] == b"\x7fELF"


@pytest.mark.parametrize(("card", "kind"), EACH)
def test_release(card, kind):
    from synsim.kernels import gpu

    floats = dict.fromkeys(("weight", "p", "out"), f"*{kind}")
    signature = {"weight": floats["weight"], "p": floats["p"], "keys": "*i64", "out": floats["out"], "count": "*u8"}
    # Examples and draws are counted in 32 bits, of which the last one is no sign.
    for size in ("i32", "i64"):
        counters = {"n": "i32", "sites": "i32", "example": size, "draw": size}
        require_machine_code(compiled(gpu._release, signature | counters, {"BLOCK": gpu.BLOCK}, card), card)


VARIANTS = ((False, True, False), (True, True, True), (True, False, False))
"""Whether there is a penalty, whether p moves, and whether its bounds are hard."""


@pytest.mark.parametrize(("card", "kind"), EACH)
def test_learn(card, kind):
    from synsim.kernels import gpu

    floats = dict.fromkeys(("weight", "p", "gradient", "penalty"), f"*{kind}")
    signature = {**floats, "table": "*fp64", "n": "i32", "replicas": "i32"}
    for penalty, plastic, hard in VARIANTS if kind == "fp32" else VARIANTS[:1]:
        constants = {"PENALTY": penalty, "PLASTIC": plastic, "HARD": hard, "BLOCK": gpu.BLOCK}
        made = compiled(gpu._learn, signature, constants, card)
        require_machine_code(made, card)
        # What is not asked for is not there: p is written where it moves, and only there.
        stores = len(re.findall(r"tt\.store", made.asm["ttir"]))
        assert stores == (2 if plastic else 1)


def test_a_kernel_that_is_wrong_does_not_compile():
    from synsim.kernels import gpu

    signature = {"weight": "*fp32", "p": "*fp32", "keys": "fp32", "out": "*fp32", "count": "*u8"}
    counters = {"n": "i32", "sites": "i32", "example": "i32", "draw": "i32"}
    with pytest.raises(triton.CompilationError):
        compiled(gpu._release, signature | counters, {"BLOCK": gpu.BLOCK}, CARDS[0])
