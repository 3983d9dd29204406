"""`rag eval`: how well a live service finds and answers. A client: it knows the service's HTTP API and nothing else."""
