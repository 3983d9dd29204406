"""The ingestion stage: uploaded documents → passages in the index."""
