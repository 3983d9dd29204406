"""The retrieval stage: an index of passages, searched by vectors and terms."""
