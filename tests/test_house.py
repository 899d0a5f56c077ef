"""The arrows between the rooms go one way, and the house keeps its promises."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from torch import Tensor, nn

import synsim

ROOT = Path(synsim.__file__).resolve().parent.parent

PICKLE = re.compile(r"\bimport pickle\b|(?<!safetensors\.)torch\.load\(|allow_pickle=True")

# What each room of the package may import from others. A room missing here is a new room: decide where it stands.
ALLOWED = {
    "__main__": {"data", "records", "tables", "_console"},
    "_checks": set(),
    "_console": set(),
    "_doors": set(),
    "_files": set(),
    "_kept": set(),
    "_names": set(),
    "_philox": set(),
    "_progress": set(),
    "streams": {"_philox", "_checks"},
    "losses": {"_checks"},
    "kernels": {"_philox", "_checks"},
    "synapses": {"_philox", "kernels", "streams", "_checks", "_kept", "_names"},
    "networks": {"dropout", "streams", "synapses", "_checks"},
    "rules": {"inputs", "kernels", "networks", "streams", "synapses", "_checks", "_kept", "_names"},
    "sparse": {"kernels", "lesions", "networks", "rules", "synapses", "_checks", "_names"},
    "conversion": {"synapses", "_checks"},
    "controls": {"networks", "synapses", "_checks"},
    "perceptron": {"kernels", "streams", "_checks"},
    "dropout": {"kernels", "streams", "synapses", "_checks"},
    "data": {"streams", "_checks", "_files", "_progress"},
    "tasks": {"kernels", "streams", "_checks"},
    "inputs": {"losses", "networks", "synapses", "_checks", "_kept"},
    "meters": {"dropout", "inputs", "losses", "networks", "streams", "synapses", "_checks", "_kept", "_names"},
    "curvature": {"inputs", "losses", "networks", "streams", "synapses", "_checks", "_kept", "_names"},
    "descent": {
        "curvature",
        "inputs",
        "kernels",
        "losses",
        "networks",
        "rules",
        "streams",
        "synapses",
        "_checks",
        "_names",
    },
    "importance": {"curvature", "inputs", "losses", "networks", "streams", "synapses", "_checks", "_kept", "_names"},
    "consolidation": {"lesions", "meters", "networks", "sparse", "synapses", "_checks", "_names"},
    "spiking": {"_philox", "inputs", "kernels", "losses", "networks", "streams", "synapses", "_kept", "_progress"},
    "lesions": {"inputs", "meters", "networks", "synapses", "streams", "_checks", "_kept", "_names"},
    "records": {"_checks", "_files"},
    "statistics": {"_checks"},
    "sweep": {"_checks"},
    "forgetting": {"_checks"},
    "papers": {"_checks"},
    "tables": {"papers", "statistics", "_checks"},
    "plots": {"statistics", "_checks"},
    "figures": {"records", "tables", "_console"},
    "outcomes": {"papers", "statistics", "_checks"},
    "report": {"outcomes", "papers", "records", "statistics"},
    "training": {
        "consolidation",
        "curvature",
        "dropout",
        "importance",
        "inputs",
        "losses",
        "meters",
        "networks",
        "records",
        "rules",
        "sparse",
        "streams",
        "sweep",
        "synapses",
        "tasks",
        "_doors",
        "_checks",
        "_console",
        "_kept",
        "_names",
        "_progress",
    },
    "experiment": {"records", "tables", "training", "_console"},
    "sweeps": {"experiment", "records", "sweep", "training", "_progress"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return found


def rooms(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("synsim.")} - {"__version__"}


def files(room: str) -> list[Path]:
    base = ROOT / "synsim" / room
    return sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]


def test_every_room_is_known():
    there = {path.stem for path in (ROOT / "synsim").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert there - {"__init__", "__pycache__"} == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_go_one_way(room):
    for path in files(room):
        found = rooms(imports(path)) - {room, "_checks", "_doors"}  # the ground of every room
        assert found <= ALLOWED[room], f"{path.name} imports {sorted(found - ALLOWED[room])}"


def test_the_arrows_have_no_circle():
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        free = {room for room, needs in ALLOWED.items() if room not in done and needs <= done}
        assert free, f"a circle among {sorted(set(ALLOWED) - done)}"
        done |= free


# Rooms that may touch the parameters of a layer, and the neuron that has a weight of its own.
PARAMETERS = {
    "consolidation", "conversion", "curvature", "descent", "kernels", "networks", "perceptron", "rules", "sparse",
    "synapses",
}  # fmt: skip
# Functions elsewhere that read a `weight`, and what it is there.
OTHER_WEIGHTS = {
    "importance/plain.py: ReleaseProbability.estimate": "the key of the parameter",
    "lesions/copies.py: _Lesion.__init__": "parameters, silenced",
    "lesions/copies.py: widened": "parameters, repeated",
    "meters/coverage.py: plain_strengths": "that of torch's own layers",
    "meters/heard.py: axes_of": "that of torch's own layers",
    "meters/heard.py: strength_of": "that of torch's own layers",
    "spiking/nir.py: _layer": "that of a node in a file",
    "spiking/nir.py: write": "that of a node in a file",
}


def weights_read(tree: ast.AST, outer: str = "") -> set[str]:
    """Names of the functions, and classes of methods, that read an attribute `weight`."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        name = outer
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = f"{outer}.{node.name}".lstrip(".")
        if isinstance(node, ast.Attribute) and node.attr == "weight":
            found.add(name)
        found |= weights_read(node, name)
    return found


def test_training_knows_no_rule_by_name():
    kinds = {name for name in synsim.rules.__all__ if isinstance(getattr(synsim.rules, name), type)} - {"Traits"}
    assert {"BGD", "PresynapticSGD"} <= kinds
    torchs = {"SGD", "Adam", "AdamW", "LBFGS"}
    for path in files("training"):
        asked = {name for name in imports(path) if name.startswith("synsim.rules")}
        assert all(name.startswith("synsim.rules.base") for name in asked), path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {getattr(node, "id", getattr(node, "attr", getattr(node, "value", None))) for node in ast.walk(tree)
                 if isinstance(node, ast.Name | ast.Attribute | ast.Constant)}  # fmt: skip
        assert not named & (kinds | torchs), path


def test_nobody_reads_a_weight_where_strength_is_meant():
    found = {}
    for room in set(ALLOWED) - PARAMETERS:
        for path in files(room):
            for name in weights_read(ast.parse(path.read_text(encoding="utf-8"))):
                found[f"{path.relative_to(ROOT / 'synsim').as_posix()}: {name}"] = name
    assert {"a.b"} == weights_read(ast.parse("class a:\n def b(self):\n  return [x.weight for x in self.layers]"))
    known = {key for key in found for entry in OTHER_WEIGHTS if key == entry or key.startswith(f"{entry}.")}
    assert found.keys() == known, "ask for expected_strength, strength, p or learned"
    stale = {entry for entry in OTHER_WEIGHTS if not any(key.startswith(entry) for key in found)}
    assert not stale, "these read no weight any more: take them off the list"


BRANCHES, PARAMETERS_MOST = 15, 8
COMPILED = {"kernels", "spiking/cpu.py"}
# Builders and what the contract names take what a user may set, each by its name; autograd's functions what they save.
MANY = {
    "data/dataset.py: from_arrays", "lesions/curves.py: lesion_curve", "lesions/curves.py: lesion_curves",
    "lesions/pruning.py: pruning_curve",
    "meters/energy.py: energy", "meters/information.py: mutual_information",
    "meters/uncertainty.py: information_interval", "networks.py: cnn",
    "networks.py: mlp", "perceptron/steps.py: presynaptic_step", "rules/plasticity.py: plastic",
    "rules/steps.py: probability_step", "rules/suggest.py: suggest_g_lim", "spiking/brian/running.py: run",
    "spiking/network.py: spiking_mlp", "synapses/chunked.py: forward", "training/options.py: option",
    "training/loop.py: fit",
}  # fmt: skip
BRANCHING = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.match_case)


def branches(function: ast.AST) -> int:
    """Branches of a function, without those of functions inside it."""
    total, waiting = 0, list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            total += isinstance(node, BRANCHING) + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0)
            waiting += ast.iter_child_nodes(node)
    return total


def parameters(function: ast.FunctionDef) -> int:
    """Parameters of a function, self and cls apart."""
    given = function.args
    named = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len({*named} - {"self", "cls"}) + (given.vararg is not None) + (given.kwarg is not None)


def test_functions_are_short_of_branches_and_of_parameters():
    example = "def f(a, *b):\n if a and b or c:\n  return [x for x in a if x]\n def g():\n  return 1 if a else 2"
    assert (branches(ast.parse(example).body[0]), parameters(ast.parse(example).body[0])) == (4, 2)
    long, many = set(), set()
    for path in (ROOT / "synsim").rglob("*.py"):
        name = path.relative_to(ROOT / "synsim").as_posix()
        if name.split("/")[0] in COMPILED or name in COMPILED:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                long |= {f"{name}: {node.name}"} if branches(node) > BRANCHES else set()
                wide = parameters(node) > PARAMETERS_MOST and node.name != "__init__"
                many |= {f"{name}: {node.name}"} if wide else set()
    assert not long
    assert many == MANY


def test_one_place_says_for_which_types_there_are_fused_kernels():
    there = {
        path.name for path in (ROOT / "synsim").rglob("*.py") if "float32, torch.float64" in path.read_text("utf-8")
    }
    assert there == {"dispatch.py", "refusals.py"}  # the perceptron is of these types, whatever runs


# What reads records, and neither trains nor measures.
READING = {"figures", "outcomes", "papers", "plots", "records", "report", "statistics", "sweeps", "tables"}


def test_the_library_knows_no_experiment_and_analysis_does_not_train():
    for path in (ROOT / "synsim").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"experiments", "analysis"}, path
    for path in (ROOT / "analysis").rglob("*.py"):
        assert rooms(imports(path)) <= READING, path


def compared(tree: ast.AST) -> list[ast.AST]:
    """Comparisons, patterns and questions about the start or end of a text in which a scope's name takes part."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            parts = [node.subject]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = node.func.attr in ("startswith", "endswith", "removeprefix", "index", "find", "count")
            parts = [node.func.value] if named else []
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            parts = [node.slice]
        inside = [each for part in parts for each in (*getattr(part, "elts", ()), part)]
        if any(
            (isinstance(each, ast.Attribute) and each.attr == "scope")
            or (isinstance(each, ast.Constant) and each.value in ("batch", "sample", "event", "event-gaussian"))
            for each in inside
        ):
            found.append(node)
    return found


def test_no_scope_is_compared_by_name():
    for text in (
        'layer.scope == "batch"', 'scope in ("event", "sample")', '"batch" in scopes', 'a.scope.startswith("event")',
        "match layer.scope:\n case _: pass", '{"batch": 1}[layer.scope]',
    ):  # fmt: skip
        assert compared(ast.parse(text)), text
    assert not compared(ast.parse('mlp([3, 2], scope="batch")\nSCOPES[layer.scope].per_example'))
    for path in (ROOT / "synsim").rglob("*.py"):
        found = compared(ast.parse(path.read_text(encoding="utf-8")))
        assert not found, f"{path}, line {found[0].lineno}: ask the layer's `release`, which knows what it can do"


def private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def named(tree: ast.AST) -> set[str]:
    """Private names that a piece of code binds."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name for name in found if private(name)}


def members(tree: ast.AST) -> set[str]:
    """Private attributes that the classes of a file give their objects."""
    found: set[object] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and mine(node):
            found.add(node.attr)
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            found |= {part.name} if isinstance(part, ast.FunctionDef) else named(part)
            if isinstance(part, ast.Assign) and "__slots__" in ast.unparse(part.targets[0]):
                found |= {each.value for each in ast.walk(part.value) if isinstance(each, ast.Constant)}
    return {str(name) for name in found if private(name)}


def mine(node: ast.Attribute) -> bool:
    return ast.unparse(node.value) in ("self", "cls", "super()")


def trespasses(tree: ast.AST, foreign: set[str], room: str) -> list[str]:
    """Uses of what belongs to another room: its private attributes, and names imported from it."""
    found = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in foreign and not mine(node)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synsim."):
            other = str(node.module).split(".")[1] != room
            found += [f"line {node.lineno}: {each.name}" for each in node.names if other and private(each.name)]
    return found


def test_no_private_attribute_across_rooms():
    torchs = {*vars(nn.Module()), *dir(nn.Module), *dir(Tensor)}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for room in ALLOWED for path in files(room)}
    at = {path: room for room in ALLOWED for path in files(room)}
    private_of = {room: {name for path in files(room) for name in members(trees[path])} for room in ALLOWED}
    bound = {room: {name for path in files(room) for name in tops(trees[path])} for room in ALLOWED}
    assert "_name" in private_of["synapses"]
    assert "_synapses" in private_of["spiking"]
    assert trespasses(ast.parse("layer._name\nself._name"), {"_name"}, "meters") == ["line 1: layer._name"]
    assert trespasses(ast.parse("from synsim.kernels.cpu import _M0"), set(), "spiking") == ["line 1: _M0"]
    for folder in ("experiments", "analysis", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            trees[path], at[path] = ast.parse(path.read_text(encoding="utf-8")), folder
    for path, tree in trees.items():
        own = private_of.get(at[path], set())
        foreign = {name for room in ALLOWED if room != at[path] for name in private_of[room] | bound[room]}
        found = trespasses(tree, foreign - own - torchs, at[path])
        assert not found, f"{path}, {'; '.join(found)}: give its room a public verb"


def tops(tree: ast.Module) -> set[str]:
    """Private names that a file binds for itself."""
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    rest = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {name for name in functions if private(name)} | {name for node in rest for name in named(node)}


def test_no_pickle_anywhere():
    for folder in ("synsim", "experiments", "analysis"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not PICKLE.search(path.read_text(encoding="utf-8")), path


def test_citation_and_changelog_name_the_version():
    for name in ("CITATION.cff", "CHANGELOG.md"):
        assert synsim.__version__ in (ROOT / name).read_text(encoding="utf-8"), name


def test_the_examples_of_the_readme_run(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks, "the README has no example"
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
        assert capsys.readouterr().out


def test_the_map_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [room for room in ALLOWED if not room.startswith("_") and room not in text]
    assert not missing


def apply(need: Requirement, python: str) -> bool:
    return need.marker is None or need.marker.evaluate({"python_version": python})


def pins(name: str, python: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    needs = [need for need in (Requirement(line) for line in lines if line[:1] not in ("", "#")) if apply(need, python)]
    versions = [(need.name, str(need.specifier)) for need in needs]
    assert len(dict(versions)) == len(versions), f"{name} pins a package twice"
    assert all(text.startswith("==") for _, text in versions), name
    return {package: Version(text[2:]) for package, text in versions}


def declared(python: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    needs = [Requirement(text) for text in texts]
    return [need for need in needs if need.name != "synsim" and apply(need, python)]


def test_the_floors_that_are_tested_are_the_floors_that_are_declared():
    floors = pins("constraints-floors.txt", "3.11")
    needs = declared("3.11")
    assert {need.name for need in needs} == set(floors)
    for need in needs:
        assert [Version(part.version) for part in need.specifier if part.operator == ">="] == [floors[need.name]], need


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_versions_that_were_tested_together_are_admitted(python):
    tested = pins("constraints.txt", python)
    for need in declared(python):
        if need.name != "pandas-stubs":
            assert need.specifier.contains(tested[need.name]), need


def test_spiking_can_be_imported_where_brian2_knows_no_numpy_2_4():
    old, new = ([need for need in declared(python) if need.name == "numpy"] for python in ("3.11", "3.12"))
    assert not all(need.specifier.contains("2.4.0") for need in old)
    assert all(need.specifier.contains("2.4.0") for need in new)


def test_files_of_tests_have_names_of_their_own():
    # pytest imports them by their names alone, whatever folder they lie in.
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
