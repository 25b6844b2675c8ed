"""Words and English of the code: old coined identifiers stay away, and sentences avoid the shapes that were mended."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "sweeps", "planners", "world_models", "benchmarks")

COINED = """
    beside belief believed courier couriers crew easel felt film filmed films flying galleries gallery honesty hopeless hurried
    hurries hurry inbox setback setbacks sight sights sketch sketches spot spots stories story teller telling tellings ticket
    tickets tries
"""
"""Words that no identifier may hold, whatever else is in its name (`_film_of` has `film`)."""

OLD_MODULES = """
    account ahead artifact_files choice costs destination effort joining outcomes refine run_pictures sizes tries turns work
    quality_ahead quality_honesty
"""
"""Names that modules had."""

OLD_NAMES = {
    "benchmarks": "Told told tell destination place same_outcomes worst_of",
    "orchestrator": "CostModel Costs Destination Effort Outcome Size Sizes moves",
    "orchestrator/artifacts": "CHOSEN Choice Chosen Record Shown choice choices choose chosen place places",
    "orchestrator/core": "work outcome outcomes",
    "orchestrator/driver": "chosen costs joined sizes waits",
    "orchestrator/evaluation": "chosen effort outcome",
    "orchestrator/ledger": "work sizes",
    "orchestrator/scheduling": "AHEAD REPRICE ahead as_work chosen costs price priced reprice size sizes work",
    "orchestrator/storage": "told",
    "orchestrator/tracking": "at_home destination place told",
    "orchestrator/tuning": "ahead by_place place places tell_scores told",
    "orchestrator/workers": "effort outcome sizes",
    "planners": "Moves Newcomers Some Turn Turns joined moves place places take_turn told turn turns",
    "planners/search": "JoiningSearch chosen joining",
    "planners/updates": "offered_costs",
    "sweeps": "Account Ahead Beside Joined Place Setting Shown Spot Telling destination destination_of place places told",
    "sweeps/analysis": "Review believed review setting setting_of",
    "sweeps/commands": "Compared compared outcome outcomes",
    "sweeps/config": "chosen chosen_of sizes",
    "sweeps/diagnose": "by_place chosen costs effort",
    "sweeps/quality": """
        Asked HURRIED HURRIED_WORDS PLACE_KEYS WORST WORST_DRAWN Work aim aims ahead by_place costs look_ahead place_of
        place_text same_place say_ahead work worst worst_cells
        """,
    "sweeps/reports": "EFFORT_CAPTION SHOWN effort effort_fields effort_text joined render_effort",
    "sweeps/running": "account ahead costs joined known_destinations sizes work",
    "sweeps/tuning": "body by_place chosen costs",
    "world_models": "Sight body told turn turns",
    "world_models/adapters": "BODY_WEIGHT place",
    "world_models/checkpoints": "chosen",
    "world_models/models": "Joined joined",
    "world_models/tasks": "ahead aim aims chosen place places way_aims",
    "world_models/training": "chosen",
}
"""Old names whose words mean other things elsewhere, by the folder below which nothing bears them.

Leading underscores do not count.
"""


def declared(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each class, function, parameter, field, attribute and module constant; locals are not looked at."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        if isinstance(node, ast.Module | ast.ClassDef):
            for statement in node.body:
                targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                yield from ((n.lineno, n.id) for t in targets if t for n in ast.walk(t) if isinstance(n, ast.Name))


def words_of(name: str) -> set[str]:
    """The words of an identifier in either case style."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


ON_DISK = {"sweeps/config/schema/configs.py": {"places"}}
"""Keys of configs, which keep their names because they stand in users' files."""


def old_names(path: str, source: str) -> list[str]:
    """The old identifiers in a module at `path`, relative to the root of the repository."""
    stem, coined = Path(path).stem, set(COINED.split())
    banned = {name for folder, names in OLD_NAMES.items() if path.startswith(f"{folder}/") for name in names.split()}
    found = [f"{path}: the module itself"] if stem in OLD_MODULES.split() or words_of(stem) & coined else []
    for line, name in declared(ast.parse(source)):
        if words_of(name) & coined or name.lstrip("_") in banned - ON_DISK.get(path, set()):
            found.append(f"{path}:{line}: {name}")
    return found


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def test_no_identifier_is_an_old_one() -> None:
    found = [old for file in python_files(*PACKAGES) for old in old_names(str(file.relative_to(ROOT)), file.read_text())]
    assert not found, "old names are back; the field's terms are in docs/architecture.md:\n" + "\n".join(found)


PLANTED = {
    "class": ("orchestrator/artifacts/x.py", "class ArtifactGallery: ..."),
    "function": ("planners/x.py", "def _tries_of(): ..."),
    "method": ("orchestrator/driver/x.py", "class A:\n    def waits(self): ..."),
    "parameter": ("sweeps/quality/x.py", "def f(*, place): ..."),
    "field": ("sweeps/tuning/x.py", "class A:\n    costs: int = 0"),
    "attribute": ("orchestrator/tracking/x.py", "class A:\n    def __init__(self):\n        self._courier = 1"),
    "constant": ("sweeps/quality/x.py", "HURRIED_LABEL = 1"),
    "module": ("orchestrator/core/work.py", ""),
    "camel case": ("world_models/base.py", "class PixelSight: ..."),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_old_name_is_found(kind: str) -> None:
    assert len(old_names(*PLANTED[kind])) == 1


def test_ordinary_uses_of_the_same_words_are_not_found() -> None:
    assert not old_names("sweeps/reports/x.py", "def f(turn, work, history):\n    place = 1\n    return place")
    assert not old_names("planners/settings.py", "class Choice:\n    choices = ()\ndef insight(multicrews): ...")


PROSE_FOLDERS = ("benchmarks", "docker", "docs", "examples", "orchestrator", "planners", "sweeps", "tests", "world_models")
"""Folders whose sentences are checked against the patterns below."""

DOCSTRINGS = {
    r"^Of ": "Of the process.",
    r"^What (?!.*\?)": "What a process calls itself.",
    r"^(As it is|So much|So many)\b": "So much is done.",
}
"""Patterns that no docstring may begin with, each with an example: a docstring is a sentence or a noun phrase with its noun."""

SENTENCES = {
    r"(?<!here )\b(is|are) no (?!(longer|more|less|better|worse|other|different|smaller|larger)\b)": "'x' is no whole number.",
    r"\b(seconds|milliseconds|minutes|steps|evaluations|values|numbers|records|cells|rows|bytes|calls|tries|attempts) "
    r"an? (problem|plan|cell|row|batch|point|seed|task|call|step|trial|planner|worker|model)\b": "planning seconds a problem",
    r"\ban? (line|value|verdict|column|claim|row|part|record|node) an? "
    r"(task|problem|claim|place|point|planner|cell|row|node|model|trial)\b": "Print a line a task.",
    r"\b(courier|setback|easel|teller|honesty|hurried|hopeless|in a hurry)\b": "The courier delivers what waits.",
    r"\b(believes|believed) (by|of|in) the model|the model's belief\b": "Success believed by the model.",
}
"""Patterns that no docstring, string, comment, message or configuration may hold, each with an example."""


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string that stands alone, after a field as well as at the top of a definition."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, " ".join(node.value.value.split())


def prose(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each comment and string of a Python file, of each line of any other.

    A string without a space is a name, such as a stored column, and no sentence. Only docstrings of the tests are taken: their
    other strings quote messages, which are checked where they are written.
    """
    if not name.endswith(".py"):
        yield from enumerate(text.splitlines(), 1)
        return
    if name.startswith("tests/"):
        yield from docstrings(ast.parse(text))
    else:
        nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        strings = ((node.lineno, node.value) for node in nodes if isinstance(node.value, str))
        yield from ((line, " ".join(value.split())) for line, value in strings if " " in value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def odd_sentences(name: str, text: str) -> list[str]:
    """Positions in a file that match one of the patterns."""
    found = [(line, said) for line, said in prose(name, text) if any(re.search(pattern, said) for pattern in SENTENCES)]
    if name.endswith(".py"):
        starts = docstrings(ast.parse(text))
        found += [(line, said) for line, said in starts if any(re.search(pattern, said) for pattern in DOCSTRINGS)]
    return [f"{name}:{line}: {said[:100]!r}" for line, said in sorted(set(found))]


def is_text(file: Path) -> bool:
    return file.is_file() and file.suffix in {".py", ".yaml", ".sh", ".slurm", ".md", ".html", ""} and file != Path(__file__)


@pytest.mark.parametrize("folder", PROSE_FOLDERS)
def test_no_sentence_has_an_odd_shape(folder: str) -> None:
    files = sorted(file for file in (ROOT / folder).rglob("*") if is_text(file))
    found = [odd for file in files for odd in odd_sentences(str(file.relative_to(ROOT)), file.read_text())]
    assert not found, "say it as a native engineer would:\n" + "\n".join(found)


@pytest.mark.parametrize(("pattern", "example"), DOCSTRINGS.items())
def test_docstring_patterns_match_their_examples(pattern: str, example: str) -> None:
    assert re.search(pattern, example)
    assert odd_sentences("x.py", f'class A:\n    size: int\n    """{example}"""\n') != []


@pytest.mark.parametrize(("pattern", "example"), SENTENCES.items())
def test_sentence_patterns_match_their_examples(pattern: str, example: str) -> None:
    assert re.search(pattern, example)
    for name, source in {
        "x.py": f"# {example}\n",
        "y.py": f'print(f"{{1}} {example}")\n',
        "z.yaml": f"a: 1  # {example}\n",
    }.items():
        assert len(odd_sentences(name, source)) == 1


@pytest.mark.parametrize(
    "good",
    [
        "There is no such file.",
        "it is no longer needed",
        "What is planned?",
        "seconds per problem",
        "60 trials a minute",
        "Seconds until the lease expires.",
    ],
)
def test_plain_sentences_pass(good: str) -> None:
    assert odd_sentences("x.py", f'"""{good}"""\n') == []
