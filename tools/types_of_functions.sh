#!/bin/sh
# Type-checks what ships as flat folders: every function has a handler.py, so they can't share one mypy run.
set -eu
cd "$(dirname "$0")/../functions"
for folder in classify extract ocr enrich publish; do
    (
        cd "$folder"
        MYPYPATH=../common:..:. mypy --strict --no-error-summary --config-file ../../pyproject.toml \
            --cache-dir "../../.mypy_cache/$folder" ./*.py
    )
done
MYPYPATH=. mypy --strict --config-file ../pyproject.toml --cache-dir ../.mypy_cache/inference -p inference_server
