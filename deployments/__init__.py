"""What runs on the nodes: one package per stage, and `inference/` for what stages with a model share.

Never imports serve_app.
"""
