"""Bulk ingestion: a job's documents go through a Ray Data pipeline, in a Ray Job that the dashboard shows.

    accepted ──▶ dispatch.py (in the ingestion replica) ──▶ Ray Job: __main__.py ──▶ runner.py ──▶ stages.py
                                                             claims, leases and results: the same job store

The ordinary workers index what a Ray Job leaves undone because it could not be submitted, was stopped or died.
"""
