"""The names of all that tells of the running service: metrics, timings and fields of the log."""
