"""Answers one query, from the question to the events of the answer. Start with `pipeline.py`."""
