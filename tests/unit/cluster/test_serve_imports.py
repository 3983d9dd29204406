from __future__ import annotations

import subprocess
import sys

LOADED = "import sys, ray.serve; print(' '.join(name for name in ('pandas', 'ray.serve') if name in sys.modules))"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_serve_is_imported_without_pandas() -> None:
    prepared = "from cluster.serve_imports import leave_pandas_out; leave_pandas_out(); "
    assert run(prepared + LOADED) == "ray.serve"
    assert run(LOADED) == "pandas ray.serve", "Serve needs no help any more: take it out"


def test_pandas_is_there_for_who_needs_it() -> None:
    code = "from cluster.serve_imports import leave_pandas_out; leave_pandas_out(); leave_pandas_out(); "
    code += "import ray.serve, ray.data, pandas; print(pandas.DataFrame({'a': [1]}).to_json())"
    assert run(code) == '{"a":{"0":1}}'
