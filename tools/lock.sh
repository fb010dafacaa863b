#!/bin/sh
# Resolve pyproject.toml again into requirements.lock, -s3.lock, -hf.lock, -llm.lock and -dev.lock, with a hash for every file.
set -eu
cd "$(dirname -- "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/uv"
"$work/uv/bin/pip" install --quiet uv

# lock FILE ARGUMENT...: the same file for every platform and every Python from 3.11 on; no index is named in it.
lock() {
    file=$1
    shift
    "$work/uv/bin/uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate "$@" --output-file "$work/lock"
    { printf '# Made by tools/lock.sh from pyproject.toml.\n'; cat "$work/lock"; } >"$file"
    rm "$work/lock"
}
# botocore (requirements-s3.lock) takes no later one, and all of these must fit into one environment.
printf 'python-dateutil<3\n' >"$work/limits"
lock requirements.lock --constraint "$work/limits" "$@"
# Inspect's own client of buckets wants one botocore and no other, so that one is everybody's.
lock requirements-llm.lock --extra llm --constraint requirements.lock "$@"
lock requirements-s3.lock --extra s3 --constraint requirements.lock --constraint requirements-llm.lock "$@"
# What tests/lab/test_students_*.py last ran with; a new torch wants them run again (CONTRIBUTING.md).
printf 'torch==2.13.0\ntransformers==5.24.0\npeft==0.21.2\n' >"$work/tested"
lock requirements-hf.lock --extra hf --constraint requirements.lock --constraint "$work/tested" "$@"
# The tests run whole studies of language models, against servers of their own.
lock requirements-dev.lock --extra dev --extra llm --constraint requirements.lock --constraint requirements-llm.lock "$@"
