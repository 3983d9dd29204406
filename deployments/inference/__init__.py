"""What stages that run a model share: batching of calls, long texts, input checks, and loading of weights."""
