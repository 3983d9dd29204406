"""`python -m rag.reference FOLDER` writes the generated pages. `make reference` writes them to `docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from rag.reference import configuration, http_api


def main(folder: Path) -> None:
    for name, page in {"configuration.md": configuration.page(), "http-api.md": http_api.page()}.items():
        (folder / name).write_text(page, "utf-8")
        print(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
