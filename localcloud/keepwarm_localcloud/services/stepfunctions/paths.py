"""JSONPath and reference paths as Amazon States Language uses them.

https://states-language.net/spec.html#path and
https://docs.aws.amazon.com/step-functions/latest/dg/amazon-states-language-paths.html
"""

import copy
import functools
import re
from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.services.stepfunctions.failures import PathError

_NAME = re.compile(r"[^\s.\[\]()'\",:?@=<>!&|*$]+")
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?\s*:\s*(-?\d+)?(?:\s*:\s*(-?\d+))?")
_FILTER = re.compile(
    r"@((?:\.[\w-]+|\['[^']*'\])+)\s*(?:(==|!=|<=|>=|<|>)\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|-?[\d.]+|true|false|null))?"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path."""

    kind: str
    """`name`, `index`, `slice`, `all`, `union`, `filter` or `deep` (recursive descent before the next step)."""
    value: Any = None

    @property
    def single(self) -> bool:
        """Whether the step can only select one node."""
        return self.kind in ("name", "index")


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path: which root (`$`, `$$` or a variable) and which steps."""

    text: str
    root: str
    steps: tuple[Step, ...]

    @property
    def definite(self) -> bool:
        """Whether the path can only select one node."""
        return all(step.single for step in self.steps)


def _quoted(text: str, at: int) -> tuple[str, int]:
    quote, out, at = text[at], [], at + 1
    while at < len(text) and text[at] != quote:
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        out.append(text[at])
        at += 1
    if at >= len(text):
        raise PathError(f"Invalid path '{text}': the quote is not closed")
    return "".join(out), at + 1


def _bracket(text: str, at: int) -> tuple[Step, int]:
    at += 1
    if text[at : at + 1] in ("'", '"'):
        names = []
        while True:
            name, at = _quoted(text, at)
            names.append(name)
            if text[at : at + 1] != ",":
                break
            at += 1
            while text[at : at + 1] == " ":
                at += 1
        step = Step("name", names[0]) if len(names) == 1 else Step("union", tuple(names))
    else:
        end = text.find("]", at)
        if text[at : at + 1] == "?":
            end = text.find(")]", at) + 1
        inside = text[at:end].strip() if end > 0 else ""
        step, at = _inside(text, inside), end
    if text[at : at + 1] != "]":
        raise PathError(f"Invalid path '{text}': ']' expected at position {at}")
    return step, at + 1


def _inside(text: str, inside: str) -> Step:
    if inside == "*":
        return Step("all")
    if _INDEX.fullmatch(inside):
        return Step("index", int(inside))
    if "," in inside and all(_INDEX.fullmatch(p.strip()) for p in inside.split(",")):
        return Step("union", tuple(int(p) for p in inside.split(",")))
    if (found := _SLICE.fullmatch(inside)) is not None:
        return Step("slice", tuple(None if g is None else int(g) for g in found.groups()))
    if inside.startswith("?(") and (found := _FILTER.fullmatch(inside[2:-1].strip())) is not None:
        return Step("filter", (f"${found[1]}", found[2], found[3]))
    raise PathError(f"Invalid path '{text}': '[{inside}]' is not supported")


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Path:
    """Parse a path.

    Raises:
        PathError: the text is no path of Amazon States Language.
    """
    if text.startswith("$$"):
        root, at = "$$", 2
    elif (variable := _VARIABLE.match(text)) is not None:
        root, at = variable[1], variable.end()
    elif text.startswith("$"):
        root, at = "$", 1
    else:
        raise PathError(f"Invalid path '{text}': it must start with '$'")
    steps: list[Step] = []
    while at < len(text):
        if text.startswith("..", at):
            steps.append(Step("deep"))
            at += 1 if text[at + 2 : at + 3] != "[" else 2
        elif text[at] == ".":
            at += 1
            if text[at : at + 1] == "*":
                steps.append(Step("all"))
                at += 1
            elif (name := _NAME.match(text, at)) is not None:
                steps.append(Step("name", name[0]))
                at = name.end()
            else:
                raise PathError(f"Invalid path '{text}': a name is expected at position {at}")
        elif text[at] == "[":
            step, at = _bracket(text, at)
            steps.append(step)
        else:
            raise PathError(f"Invalid path '{text}': unexpected '{text[at]}' at position {at}")
    return Path(text, root, tuple(steps))


def _descend(node: Any) -> list[Any]:
    out = [node]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        out.extend(_descend(child))
    return out


def _passes(node: Any, rule: tuple[str, str | None, str | None]) -> bool:
    found = _select(parse(rule[0]).steps, [node])
    if rule[1] is None or rule[2] is None:
        return bool(found)
    if not found:
        return False
    literal: Any
    if rule[2][0] in "'\"":
        literal = rule[2][1:-1]
    else:
        literal = {"true": True, "false": False, "null": None}.get(rule[2])
        if rule[2] not in ("true", "false", "null"):
            literal = float(rule[2])
    left = found[0]
    if rule[1] in ("==", "!="):
        return bool((left == literal) == (rule[1] == "=="))
    if type(left) is not type(literal) and not (isinstance(left, int) and isinstance(literal, float)):
        return False
    return bool(
        {"<": left < literal, "<=": left <= literal, ">": left > literal, ">=": left >= literal}[rule[1]]
    )


def _one(step: Step, node: Any) -> list[Any]:
    if step.kind == "name":
        return [node[step.value]] if isinstance(node, dict) and step.value in node else []
    if step.kind == "index":
        return [node[step.value]] if isinstance(node, list) and -len(node) <= step.value < len(node) else []
    if step.kind == "all":
        return list(node.values()) if isinstance(node, dict) else list(node) if isinstance(node, list) else []
    if step.kind == "slice":
        return list(node[slice(*step.value)]) if isinstance(node, list) else []
    if step.kind == "filter":
        return [child for child in _one(Step("all"), node) if _passes(child, step.value)]
    return [
        hit
        for part in step.value
        for hit in _one(Step("name" if isinstance(part, str) else "index", part), node)
    ]


def _select(steps: tuple[Step, ...], nodes: list[Any]) -> list[Any]:
    for step in steps:
        if step.kind == "deep":
            nodes = [hit for node in nodes for hit in _descend(node)]
        else:
            nodes = [hit for node in nodes for hit in _one(step, node)]
    return nodes


def read(text: str, data: Any, context: Any, variables: dict[str, Any]) -> Any:
    """Select from the input (`$`), the context object (`$$`) or a variable (`$name`).

    Raises:
        PathError: a definite path selects nothing, as Step Functions reports it.
    """
    path = parse(text)
    if path.root not in ("$", "$$") and path.root not in variables:
        raise PathError(f"The variable '${path.root}' referenced by the path '{text}' does not exist")
    root = data if path.root == "$" else context if path.root == "$$" else variables[path.root]
    found = _select(path.steps, [root])
    if not path.definite:
        return found
    if not found:
        raise PathError(f"The JSONPath '{text}' specified for the field could not be found in the input")
    return found[0]


def exists(text: str, data: Any, context: Any, variables: dict[str, Any]) -> bool:
    """Whether the path selects anything."""
    path = parse(text)
    if path.root not in ("$", "$$") and path.root not in variables:
        return False
    root = data if path.root == "$" else context if path.root == "$$" else variables[path.root]
    return bool(_select(path.steps, [root]))


def write(text: str, data: Any, value: Any) -> Any:
    """Put `value` at a reference path of a copy of `data`, making objects on the way.

    Raises:
        PathError: the path isn't a reference path, or crosses something that isn't an object.
    """
    path = parse(text)
    if path.root != "$" or not path.definite:
        raise PathError(f"'{text}' is not a reference path")
    if not path.steps:
        return value
    result = copy.copy(data) if isinstance(data, dict | list) else None
    if result is None:
        raise PathError(f"Unable to apply ReferencePath {text} to input {data!r}")
    node: Any = result
    for step, following in zip(path.steps[:-1], path.steps[1:], strict=True):
        child = _one(step, node)
        fresh: Any = copy.copy(child[0]) if child and isinstance(child[0], dict | list) else {}
        if child and not isinstance(child[0], dict | list):
            raise PathError(f"Unable to apply ReferencePath {text} to input {data!r}")
        if following.kind == "index" and not child:
            raise PathError(f"Unable to apply ReferencePath {text} to input {data!r}")
        _put(text, node, step, fresh)
        node = fresh
    _put(text, node, path.steps[-1], value)
    return result


def _put(text: str, node: Any, step: Step, value: Any) -> None:
    fits = (
        isinstance(node, dict)
        if step.kind == "name"
        else isinstance(node, list) and 0 <= step.value < len(node)
    )
    if not fits:
        raise PathError(f"Unable to apply ReferencePath {text}: no place for '{step.value}'")
    node[step.value] = value
