#!/bin/sh
# Prints the path of a usable uv: the one on PATH, or one installed from the package index into .tools/.
set -eu
if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
    command -v uv
    exit 0
fi
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
for uv in "$here/.tools/bin/uv" "$here/.tools/site/bin/uv"; do
    if [ -x "$uv" ]; then
        echo "$uv"
        exit 0
    fi
done
python=$(command -v python3 || command -v python) || {
    echo "KW650 make: got no python3 on PATH; needs Python 3.11 or later; fix: install Python" >&2
    exit 2
}
# Debian's python3 may come without ensurepip, so a plain --target install is the second way.
if "$python" -m venv "$here/.tools" >/dev/null 2>&1 && "$here/.tools/bin/python" -m pip install -q uv >&2; then
    echo "$here/.tools/bin/uv"
elif "$python" -m pip install -q --target "$here/.tools/site" uv >&2; then
    echo "$here/.tools/site/bin/uv"
else
    echo "KW650 make: got neither uv nor a way to install it with $python; fix: install uv (pip install uv)" >&2
    exit 2
fi
