"""YAML files that people write: read, or refused with the line at fault."""

from pathlib import Path

from keepwarm_planner.errors import PlannerError


def read(path: Path, what: str = "a readable file") -> object:
    """The document in a file.

    Args:
        path: the file.
        what: what is allowed there, for a file that can't be read.

    Raises:
        PlannerError: KW503 when it can't be read, KW513 when it is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise PlannerError("KW503", str(path), e.strerror or str(e), what) from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        mark = getattr(e, "problem_mark", None)
        raise PlannerError(
            "KW513", str(path), str(e).splitlines()[0], "YAML", line=mark.line + 1 if mark else None
        ) from e
