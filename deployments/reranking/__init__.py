"""The reranking stage: a better order of the passages that were found."""
