"""A pickle interpreter without callables: it builds plain containers, tensors and inert records, and can't execute anything.

Python's own unpickler calls the functions that a file names; this one has no way to call or import anything. Opcodes are those
of https://docs.python.org/3/library/pickletools.html. Time and memory are linear in the length of the pickle.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from world_models.adapters.pickles.records import ModuleRecord, Name
from world_models.errors import UserError


class DamagedPickleError(Exception):
    """A pickle that violates its format; the message says how."""


_MARK = object()

_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_PUSHED = frozenset((*_NUMBERS, *_TEXTS, *_BYTES))
_CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, Callable[[], object]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: ModuleRecord("builtins.set"),
}
_KEYS = (str, int, float, bytes, type(None))
_IDENTITIES = (Name, ModuleRecord, Tensor)
"""Types of keys that are hashed by identity: optimisers key their state by parameters."""


class Machine:
    """Interpreter of one pickle.

    `name(dotted)` returns the object that a global stands for, or raises; `construct(target, arguments)` the result of
    "calling" it; `persistent(id)` the object of a persistent id. None of these may execute anything from the file.
    """

    def __init__(
        self,
        name: Callable[[str], object],
        construct: Callable[[object, tuple[object, ...]], object],
        persistent: Callable[[object], object],
    ) -> None:
        self._name = name
        self._construct = construct
        self._persistent = persistent
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def run(self, content: bytes) -> object:
        """The value of the pickle. Raises DamagedPickleError if it violates the format, UserError if a name is refused."""
        for code, argument in _operations(content):
            if code == "STOP":
                return self._pop()
            self._one(code, argument)
        raise DamagedPickleError("it has no end")

    def _one(self, code: str, argument: object) -> None:
        if code in _PUSHED:
            self._stack.append(argument)
        elif code in _CONSTANTS:
            self._stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self._stack.append(_EMPTY[code]())
        elif code in _MEMO:
            _MEMO[code](self, argument)
        elif code in _HANDLERS:
            _HANDLERS[code](self)
        elif code in ("GLOBAL", "INST"):
            self._global(str(argument).replace(" ", ".", 1))
            if code == "INST":
                raise DamagedPickleError("it uses the opcode INST")
        elif code not in ("PROTO", "FRAME"):
            raise DamagedPickleError(f"it uses the opcode {code}")

    def _pop(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise DamagedPickleError("its stack runs empty")
        return self._stack.pop()

    def _pop_marked(self) -> list[object]:
        for position in range(len(self._stack) - 1, -1, -1):
            if self._stack[position] is _MARK:
                taken = self._stack[position + 1 :]
                del self._stack[position:]
                return taken
        raise DamagedPickleError("a mark is missing")

    def _top(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise DamagedPickleError("its stack runs empty")
        return self._stack[-1]

    def _global(self, dotted: str) -> None:
        self._stack.append(self._name(dotted))

    def _stack_global(self) -> None:
        attribute, module = self._pop(), self._pop()
        if not (isinstance(attribute, str) and isinstance(module, str)):
            raise DamagedPickleError("it names a class by something that is not text")
        self._global(f"{module}.{attribute}")

    def _get(self, index: object) -> None:
        if not isinstance(index, int) or index not in self._memo:
            raise DamagedPickleError("it recalls a value that it never stored")
        self._stack.append(self._memo[index])

    def _put(self, index: object) -> None:
        if not isinstance(index, int):
            raise DamagedPickleError("it stores a value under an index that is not a number")
        self._memo[index] = self._top()

    def _memoize(self, argument: object) -> None:
        self._memo[len(self._memo)] = self._top()

    def _mark(self) -> None:
        self._stack.append(_MARK)

    def _tuple(self, count: int | None) -> None:
        if count is None:
            self._stack.append(tuple(self._pop_marked()))
        else:
            self._stack.append(tuple([self._pop() for _ in range(count)][::-1]))

    def _list(self) -> None:
        self._stack.append(self._pop_marked())

    def _dict(self) -> None:
        pairs = self._pop_marked()
        self._stack.append({})
        self._set_items(pairs)

    def _frozenset(self) -> None:
        self._stack.append(ModuleRecord("builtins.frozenset", elements=self._pop_marked()))

    def _append(self, values: list[object]) -> None:
        target = self._top()
        if isinstance(target, ModuleRecord):
            target.elements.extend(values)
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise DamagedPickleError("it appends to something that is not a list")

    def _append_one(self) -> None:
        self._append([self._pop()])

    def _append_marked(self) -> None:
        self._append(self._pop_marked())

    def _set_items(self, pairs: list[object]) -> None:
        target = self._top()
        items = target.items if isinstance(target, ModuleRecord) else target
        if not isinstance(items, dict) or len(pairs) % 2:
            raise DamagedPickleError("it sets items of something that is not a mapping")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            items[_checked_key(key)] = value

    def _set_one(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _set_marked(self) -> None:
        self._set_items(self._pop_marked())

    def _reduce(self) -> None:
        arguments, target = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            raise DamagedPickleError("it constructs with arguments that are not a tuple")
        self._stack.append(self._construct(target, arguments))

    def _new_with_keywords(self) -> None:
        keywords = self._pop()
        self._reduce()
        made = self._top()
        if isinstance(made, ModuleRecord) and isinstance(keywords, dict):
            made.state.update({str(key): value for key, value in keywords.items()})

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, ModuleRecord):
            return  # attributes of a plain container or a tensor, such as the version notes of a state dict
        attributes = state[0] if isinstance(state, tuple) and len(state) == 2 and state[1] is None else state
        if isinstance(attributes, dict):
            target.state.update({str(key): value for key, value in attributes.items()})
        else:
            target.state["__state__"] = attributes

    def _persistent_id(self) -> None:
        self._stack.append(self._persistent(self._pop()))

    def _drop(self) -> None:
        if not self._stack:
            raise DamagedPickleError("its stack runs empty")
        self._stack.pop()

    def _drop_marked(self) -> None:
        self._pop_marked()

    def _duplicate(self) -> None:
        self._stack.append(self._top())


_MEMO: Mapping[str, Callable[[Machine, object], None]] = {
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine._put),
    "MEMOIZE": Machine._memoize,
}

_HANDLERS: Mapping[str, Callable[[Machine], None]] = {
    "MARK": Machine._mark,
    "TUPLE": lambda machine: machine._tuple(None),
    "TUPLE1": lambda machine: machine._tuple(1),
    "TUPLE2": lambda machine: machine._tuple(2),
    "TUPLE3": lambda machine: machine._tuple(3),
    "LIST": Machine._list,
    "DICT": Machine._dict,
    "FROZENSET": Machine._frozenset,
    "APPEND": Machine._append_one,
    "APPENDS": Machine._append_marked,
    "ADDITEMS": Machine._append_marked,
    "SETITEM": Machine._set_one,
    "SETITEMS": Machine._set_marked,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._reduce,
    "NEWOBJ_EX": Machine._new_with_keywords,
    "BUILD": Machine._build,
    "BINPERSID": Machine._persistent_id,
    "STACK_GLOBAL": Machine._stack_global,
    "POP": Machine._drop,
    "POP_MARK": Machine._drop_marked,
    "DUP": Machine._duplicate,
}


def _operations(content: bytes) -> Iterator[tuple[str, object]]:
    """Opcode names and arguments; raises DamagedPickleError if the bytes are not a pickle."""
    try:
        for operation, argument, _ in pickletools.genops(content):
            yield operation.name, argument
    except UserError:
        raise
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise DamagedPickleError("it is truncated or not a pickle") from error


def _checked_key(key: object) -> object:
    """A key that is safe to hash: plain, hashed by identity, or a flat tuple of plain values (hashing a tuple recurses)."""
    simple = isinstance(key, (*_KEYS, *_IDENTITIES)) or (
        isinstance(key, tuple) and all(isinstance(part, _KEYS) for part in key)
    )
    if not simple:
        raise DamagedPickleError(f"it has a mapping with a key of type {type(key).__name__}")
    return key
