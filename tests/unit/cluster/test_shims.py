"""Deployed configurations name the edge's two hooks by the modules' former paths."""

from __future__ import annotations

from cluster import door, haproxy
from cluster.edge import haproxy as edge_haproxy
from cluster.edge import http as edge_http


def test_cluster_door_is_the_http_edge() -> None:
    assert door.middlewares is edge_http.middlewares


def test_cluster_haproxy_is_the_edges() -> None:
    assert haproxy.install is edge_haproxy.install
