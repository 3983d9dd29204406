"""Bulk ingestion: a job's documents on their way through a Ray Data pipeline, as a Ray Job that the dashboard shows.

    accepted ──▶ dispatch.py (in the ingestion replica) ──▶ Ray Job: __main__.py ──▶ runner.py ──▶ stages.py
                                                             claims, leases and results: the same job store

Whatever a Ray Job leaves undone, because it could not be submitted, was stopped or died, the ordinary workers do.
"""
