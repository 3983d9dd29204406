"""How many replicas a stage should have: policies for `autoscaling_config.policy` of a config file.

Serve calls a policy in its controller, with what the replicas report by `record_autoscaling_stats`. A policy is pure:
the same context gives the same target. Serve adds its own delays, factors and bounds to it.
"""
