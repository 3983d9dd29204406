"""What runs on the nodes: one package per stage. Never imports serve_app."""
