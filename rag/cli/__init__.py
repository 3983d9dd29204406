import sys

# httpx brings a command line of its own, and imports it if it can: that takes longer than the rest of httpx.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
