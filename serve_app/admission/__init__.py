"""Admission: rate limits, and slots in generation shared fairly among tenants and ingress replicas.

limiter.py: one for all replicas. Divides slots and rates among tenants and replicas (fair_share.py).
replica.py: one in each replica. Spends the replica's grant: rates (rate_limits.py) and slots (slots.py).
sync.py: sends the replica's report to the limiter and applies its grant, several times a second.
"""
