"""A stack file: read, and written with only those sections changed that an answer changes.

A stack file is written by people and has comments; only the sections that change are written anew, the other lines
stay as they are.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keepwarm_planner import yaml_file
from keepwarm_planner.errors import PlannerError

NAMESPACE = "keepwarm:"
WHOLE = {"warm_pool"}
"""Sections that an answer replaces: the old pool's schedules don't carry over to the new one."""

_KEY = re.compile(r"^( +)(['\"]?)([A-Za-z0-9_.:-]+?)\2\s*:(?:\s|$)")


def stack_settings(path: Path) -> dict[str, Any]:
    """The `keepwarm:` settings of a stack file as they are written, without defaults. Raises KW503 or KW513."""
    return own_settings(stack_config(path))


def own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `keepwarm:` settings of a configuration, by their names without that."""
    return {k.removeprefix(NAMESPACE): v for k, v in config.items() if k.startswith(NAMESPACE)}


def stack_config(path: Path) -> dict[str, Any]:
    """The whole configuration of a stack file as it is written. Raises KW503 or KW513."""
    document = yaml_file.read(path, "a stack file")
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise PlannerError("KW513", str(path), "no config", "a stack file with `config:`")
    return config


def merged(written: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of `answer` laid over those of a stack (as written, without defaults); only what changes."""
    out = {}
    for name, section in answer.items():
        before = written.get(name)
        if name == "service" and before is None:
            continue  # its permits matter where there is a service; an answer adds none
        new = section if name in WHOLE else _laid_over(before, section)
        if name == "service" and isinstance(new, dict) and new.get("min_tasks", 0) > new.get("max_tasks", 0):
            # tasks that always run are the owner's decision; the peak needs no more than they are
            new["max_tasks"] = new["min_tasks"]
        if new != before:
            out[name] = new
    return out


def _laid_over(before: Any, after: Any) -> Any:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    return {**before, **{key: _laid_over(before.get(key), value) for key, value in after.items()}}


def _dumped(values: Mapping[str, Any], indent: str) -> list[str]:
    import yaml

    lines = []
    for name, value in values.items():
        # yaml would put a mapping of scalars alone on one line in braces, key and all
        flow = None if isinstance(value, Mapping | list) else False
        text = yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=flow, width=110)
        lines += [f"{indent}{line}\n" for line in text.splitlines()]
    return lines


def rendered(sections: Mapping[str, Any], indent: str = "  ") -> str:
    """Sections as they stand below `config:`."""
    named = {f"{NAMESPACE}{name}": value for name, value in sections.items()}
    gone = [f"{indent}# remove {name}\n" for name, value in named.items() if value is None]
    return "".join([*_dumped({k: v for k, v in named.items() if v is not None}, indent), *gone])


def with_sections(text: str, sections: Mapping[str, Any]) -> str:
    """The file's text with these sections in place of its own, or after its last key; within a section, only keys
    whose value changes are written anew. A section that is None goes."""
    lines = [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]
    start = next((i + 1 for i, line in enumerate(lines) if re.match(r"config:\s*(#.*)?$", line)), len(lines))
    end = start
    for i in range(start, len(lines)):
        if lines[i][:1] not in (" ", "#", "\n", "\r"):
            break
        if lines[i].strip() and not lines[i].lstrip().startswith("#"):
            end = i + 1
    named = {f"{NAMESPACE}{name}": value for name, value in sections.items()}
    return "".join([*lines[:start], *_spliced(lines[start:end], named, drop=False), *lines[end:]])


def _spliced(lines: list[str], values: Mapping[str, Any], *, drop: bool) -> list[str]:
    """The lines of a block mapping with `values` laid in. With `drop`, keys that are not among them go."""
    indent = next((len(x) - len(x.lstrip(" ")) for x in lines if x.strip() and x.lstrip()[0] != "#"), 2)
    left, out, i = dict(values), list[str](), 0
    while i < len(lines):
        key = _KEY.match(lines[i])
        if key is None or len(key[1]) != indent:
            out.append(lines[i])
            i += 1
            continue
        stop = _end_of(lines, i, indent)
        if key[3] in left and left[key[3]] is None:
            del left[key[3]]
        elif key[3] in left:
            out += _changed(lines[i:stop], key[3], left.pop(key[3]), indent)
        elif not drop:
            out += lines[i:stop]
        i = stop
    added = {name: value for name, value in left.items() if value is not None}
    return out + [line for name, value in added.items() for line in _dumped({name: value}, " " * indent)]


def _changed(block: list[str], name: str, value: Any, indent: int) -> list[str]:
    """One key with its new value; its comments and unchanged keys stay where it is a block of keys before and after."""
    import yaml

    before = yaml.safe_load("".join(block))[name]
    if before == value:
        return block
    opens = re.match(r"^\s*\S+:\s*(#.*)?$", block[0]) is not None
    if opens and isinstance(before, dict) and isinstance(value, dict):
        new = [block[0], *_spliced(block[1:], value, drop=True)]
        try:
            if yaml.safe_load("".join(new))[name] == value:
                return new
        except yaml.YAMLError:
            pass  # a form that this reader of lines does not know: the key is written as a whole
    return _dumped({name: value}, " " * indent)


def _end_of(lines: list[str], start: int, indent: int) -> int:
    """First line after a key's value; comments and blank lines before the next key belong to that one."""
    end = start + 1
    for i in range(start + 1, len(lines)):
        line = lines[i]
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = len(line) - len(line.lstrip(" "))
        # a list may stand as deep as its key
        if depth < indent or (depth == indent and not line.lstrip().startswith("- ")):
            break
        end = i + 1
    return end


def update(path: Path, sections: Mapping[str, Any]) -> None:
    """Writes the sections into a stack file.

    Raises:
        PlannerError: KW503 when it can't be read or written, KW513 when its form is one that can't be kept.
    """
    before = stack_settings(path)
    try:
        new = with_sections(path.read_text(encoding="utf-8"), sections)
        wanted = {name: value for name, value in {**before, **sections}.items() if value is not None}
        if _settings_in(new) != wanted:
            raise PlannerError(
                "KW513",
                str(path),
                "a form that can't be edited in place",
                "one key per line below `config:`",
                fix="paste the printed sections",
            )
        beside = path.with_name(f".{path.name}.new")
        try:
            beside.write_text(new, encoding="utf-8")
            beside.chmod(path.stat().st_mode & 0o777)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as e:
        raise PlannerError(
            "KW503", str(path), e.strerror or str(e), "a stack file that can be written"
        ) from e


def _settings_in(text: str) -> dict[str, Any] | None:
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    config = document.get("config") if isinstance(document, dict) else None
    return own_settings(config) if isinstance(config, dict) else None
