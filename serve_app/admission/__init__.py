"""Who may ask now, who waits, and who is turned away: fair among tenants, however many ingress replicas there are.

limiter.py: one for all replicas; divides places in generation, and rates, among tenants and replicas (shares.py).
gate.py: one in each replica; spends what the limiter granted of rates (rates.py) and places (places.py).
exchange.py: brings reports from a gate to the limiter and its grants back, several times a second.
"""
