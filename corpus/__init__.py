"""The documents that a first start indexes: about this service, for the people who use it.

Markdown, Croatian in `hr/` and English in `en/`; find them with `importlib.resources.files("corpus")`.
"""
