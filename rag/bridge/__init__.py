"""A client of the service for a parent process: framed commands in, each forwarded over HTTP, framed messages out.

framing     bytes ↔ frames or lines
messages    a frame ↔ a request; what the bridge itself answers
upstream    the HTTP client of the service
forwarding  one request → the messages of its answer
session     many requests at once over one stream of bytes
stdio, sockets, http_proxy   the three ways in
streams, lifetime            owning the standard descriptors, and when to end
"""
