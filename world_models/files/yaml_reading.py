"""The one reader of YAML that users and others write: bounded before it is expanded, each fault with its file and line."""

from __future__ import annotations

import codecs
from collections.abc import Hashable
from pathlib import Path

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError
from yaml.resolver import BaseResolver

from world_models.errors import UserError

MAX_BYTES = 512 * 2**10
"""The largest YAML file that is read; parsing one takes some seconds."""

MAX_REPEATED = 10_000
"""How many values aliases (`*name`) may repeat altogether."""

MAX_DEPTH = 50
"""How deep lists and mappings may be nested."""

MAX_SCALAR = 1_000
"""Characters of a number or date: more take minutes to convert."""

_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"))
_MARKS_16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MERGE, _TEXT = "tag:yaml.org,2002:merge", BaseResolver.DEFAULT_SCALAR_TAG


class YamlError(UserError):
    """A YAML file that cannot be read: the sentence names the file, the line and what is wrong there."""


def load_yaml(file: Path, what: str) -> object:
    """The plain value in a YAML file (None if it is empty); `what` names it, e.g. "config file".

    Raises YamlError for one that is missing, too large, not YAML, or that has a key twice, a tab, too many aliases or levels.
    """
    return parse_yaml(read_yaml_text(file, what), what, str(file))


def read_yaml_text(file: Path, what: str) -> str:
    """The text of a YAML file in UTF-8, or in UTF-16 or UTF-32 with its mark. Raises YamlError as `load_yaml` does."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name has a null character"
        raise YamlError(f"{what} {str(file)!r} cannot be read ({reason}): give another, or correct its permissions.") from error
    if len(data) > MAX_BYTES:
        raise YamlError(f"{what} {str(file)!r} is too large to be read: give at most {MAX_BYTES} bytes.")
    encoding = next((name for mark, name in _MARKS + _MARKS_16 if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fault(str(file), what, line, "it is not text in UTF-8") from error


def parse_yaml(text: str, what: str, where: str) -> object:
    """The plain value of YAML that was read already; `where` names its source. Raises YamlError as `load_yaml` does."""
    try:
        reader = _Reader(text)
        try:
            return reader.get_single_data()
        finally:
            reader.dispose()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _fault(where, what, line, f"the character {chr(int(error.character))!r} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
        words = "a tab cannot indent YAML: use spaces" if tab else " ".join(str(error.problem).split())[:200]
        raise _fault(where, what, mark.line + 1 if mark else 1, words) from error


def _fault(where: str, what: str, line: int, words: str) -> YamlError:
    return YamlError(f"{what} {where!r} cannot be read (line {line}: {words}): correct that line.")


class _Reader(yaml.SafeLoader):
    """A safe loader that refuses what would grow when it is expanded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._repeated = 0
        self._sizes: dict[int, int] = {}
        """Nodes below and including a composed node, by its identity."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """The next node, after its depth, its keys and what its aliases repeat were checked."""
        alias, event = self.check_event(yaml.AliasEvent), self.peek_event()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConstructorError(None, None, f"it is nested deeper than {MAX_DEPTH} levels", event.start_mark)
        node = super().compose_node(parent, index)  # pyright: ignore[reportArgumentType]
        self._depth -= 1
        if node is None:
            return node
        if alias:
            self._count_alias(node, event)
        else:
            self._check(node)
        return node

    def _count_alias(self, node: yaml.Node, event: yaml.Event) -> None:
        if id(node) not in self._sizes:  # it is not finished: the alias stands within what it names
            raise ConstructorError(None, None, "an alias contains itself", event.start_mark)
        self._repeated += self._sizes[id(node)]
        if self._repeated > MAX_REPEATED:
            words = f"aliases repeat more than {MAX_REPEATED} values: write out what is meant"
            raise ConstructorError(None, None, words, event.start_mark)

    def _check(self, node: yaml.Node) -> None:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.ScalarNode) and node.tag != _TEXT and len(node.value) > MAX_SCALAR:
            raise ConstructorError(None, None, f"a number has more than {MAX_SCALAR} characters", node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            children = [each for pair in node.value for each in pair]
        self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in children)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is a list or a mapping: give a name", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
            seen.add(key)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """The value of a node; a ConstructorError names one that has none."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, TypeError, LookupError, AttributeError) as error:  # e.g. the date 2025-13-45
            raise ConstructorError(None, None, f"{node.value!r:.60} cannot be read ({error})", node.start_mark) from error
