"""Fixed runs of the machine in `tenancies.py`. Each scene is a short story of its own, on new tenants; together they
touch every filter."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

from tests.support.tenancies import KEPT, LOOKS, Tenancies
from tests.support.worlds import Worlds

ROK, NAJAM = ["rok", "žalba", "dana"], ["najam", "ugovor", "rok"]


def run(worlds: Worlds, scene: str) -> None:
    """Raises AssertionError where one tenant feels another."""
    limits = {"limits": TIGHT} if scene == "quotas" else {}
    machine = type("Scenario", (Tenancies,), {"worlds": worlds, **limits})()
    machine.begin()
    SCENES[scene](machine)
    machine.resume()


def looks(machine: Tenancies) -> None:
    """Tenants with documents of the same ids look at all they have, and reach for each other's."""
    for tenant, words in (("a", ROK), ("b", NAJAM)):
        machine.put(tenant, "", 1, words, "zakoni", "hr")
        machine.put(tenant, "u2", 2, words[::-1], "default", "hr")
    machine.put("b", "", 3, ROK, "upute", "hr")
    for tenant in ("a", "b"):
        machine.ask(tenant, "u2", ["rok"], None, [], "query", None)
    for tenant in ("a", "b", "c"):
        for path in LOOKS:
            machine.look(tenant, path)
    for tenant, other in permutations(("a", "b", "c"), 2):
        machine.trespass(tenant, other)
    for tenant in ("a", "b"):
        machine.look(tenant, "/v1/audit")


def versions(machine: Tenancies) -> None:
    """A new version of a document beside another tenant's document of that id."""
    for tenant, words in (("a", ROK), ("b", NAJAM)):
        machine.put(tenant, "", 1, words, "zakoni", "hr")
    machine.put("a", "", 1, ["porez", *ROK], "zakoni", "hr")
    machine.put("a", "", 1, ["porez", *ROK], "zakoni", "hr")  # unchanged: no work
    for tenant in ("a", "b"):
        machine.look(tenant, "/v1/documents/d-1")
        machine.look(tenant, "/v1/documents/d-1/chunks")
        machine.look(tenant, "/v1/documents/d-1/content")
        machine.look(tenant, "/v1/collections")
        machine.look_at_the_last_job(tenant)
        machine.ask(tenant, "u2", ["rok", "ugovor"], None, [], "search", None)


def questions(machine: Tenancies) -> None:
    """Two users of each of two tenants ask on every route, for words of a third tenant too."""
    for tenant, words in (("a", ROK), ("b", NAJAM), ("c", ROK + NAJAM)):
        for owner in ("", "u1", "u2"):
            machine.put(tenant, owner, 1, words, "zakoni", "hr")
    machine.put("b", "", 2, ROK, "default", "hr")
    for route in ("search", "query", "stream", "command", "rpc", "chat", "streamed chat"):
        for tenant in ("a", "b"):
            for user in ("u1", "u2"):
                machine.ask(tenant, user, ["rok", "ugovor"], "c", [], route, None)
    machine.ask("b", "u2", ["rok"], None, ["default"], "search", "metadata.number >= 2")


def collections(machine: Tenancies) -> None:
    """A collection is made, described, cut otherwise and deleted beside others' of that name."""
    machine.change_collection("a", "upute", "POST")
    machine.ask_in_a_collection("c", "upute")
    machine.put("a", "", 5, ROK, "upute", "hr")
    machine.put("b", "", 3, ROK, "upute", "hr")
    machine.change_collection("b", "upute", "PATCH")
    machine.hold()
    machine.put("a", "", 5, ROK, "upute", "hr")  # no work: it is b's documents that are cut otherwise now
    machine.look_at_the_last_job("a")
    machine.put("b", "", 3, ROK, "upute", "hr")
    machine.look_at_the_last_job("b")
    machine.resume()
    machine.change_collection("a", "upute", "PATCH")
    machine.look("b", "/v1/collections")
    machine.change_collection("a", "upute", "DELETE")
    machine.look("a", "/v1/collections")
    machine.look("b", "/v1/collections")
    machine.ask("b", "u1", ["rok"], None, [], "search", None)


def repetitions(machine: Tenancies) -> None:
    """Requests under idempotency keys that others use too, some of which fail."""
    machine.put_what_all_have("a", 1, True, "same key")
    machine.put_what_all_have("b", 1, False, "same key")
    machine.put_what_all_have("b", 1, False, "same key")
    machine.put_what_all_have("a", 1, True, "same key")
    machine.hold()
    machine.put_what_all_have("a", 2, True, "same key")
    machine.put_wrongly("b", 2)
    machine.put_what_all_have("a", 2, True, "same key")
    machine.resume()
    machine.ask("b", "u2", ["rok", "žalba"], "a", [], "search", None)


def waiting(machine: Tenancies) -> None:
    """Documents that wait while others' documents, collections and tenants are deleted."""
    for tenant in ("a", "b", "c"):
        machine.put(tenant, "", 2, NAJAM, "zakoni", "hr")
    machine.put_what_all_have("b", 1, False, None)
    machine.put_what_all_have("b", 2, False, None)
    machine.put_what_all_have("c", 2, False, None)
    machine.hold()
    machine.put_what_all_have("a", 2, True, None)
    machine.put_what_all_have("c", 1, False, None)
    machine.put_what_all_have("b", 1, False, None)
    machine.look_at_the_last_job("b")
    machine.put("b", "", 5, ROK, "zakoni", "hr")
    machine.put("b", "", 2, ROK, "zakoni", "hr")
    machine.delete("a", "", 2)
    machine.change_collection("c", "zakoni", "DELETE")
    machine.look_at_the_last_job("b")
    machine.delete_tenant_beside_another_s_work("c", "b")
    machine.resume()
    machine.look_at_the_last_job("b")
    machine.ask("b", "u2", ["rok", "žalba"], "a", [], "search", None)


def metadata(machine: Tenancies) -> None:
    """Documents of one id in every tenant: one is patched, another is deleted by its metadata."""
    for tenant in ("a", "b", "c"):
        machine.put(tenant, "", 4, ROK, "default", "hr")
    machine.change_metadata("b", "", 4, 3)
    machine.look("b", "/v1/documents")
    machine.ask("b", "u2", ["rok"], None, [], "search", "metadata.number == 3")
    machine.delete_chosen("a", "", 4)
    machine.look("c", "/v1/documents")
    machine.ask("c", "u2", ["rok"], None, [], "search", "metadata.number == 4")


def keys(machine: Tenancies) -> None:
    """Two tenants rotate their keys and look at them."""
    machine.rotate("a")
    machine.rotate("b")
    for tenant in ("a", "b"):
        machine.look(tenant, "/v1/keys")
        machine.look(tenant, "/v1/audit")


def deletions(machine: Tenancies) -> None:
    """Documents and a tenant are deleted beside others' of the same ids."""
    for tenant, words in (("a", ROK), ("b", NAJAM), ("c", ROK)):
        machine.put(tenant, "", 2, words, "default", "hr")
    machine.put("b", "u1", 1, NAJAM, "zakoni", "hr")
    machine.put("b", "u2", 1, NAJAM, "zakoni", "hr")
    machine.delete("a", "", 2)
    machine.delete("a", "", 2)
    machine.delete("b", "u1", 1)
    machine.ask("b", "u1", ["najam", "rok"], None, [], "search", None)
    machine.ask("c", "u2", ["rok"], None, [], "search", None)
    machine.change_collection("b", "zakoni", "DELETE")
    machine.delete_tenant("c")
    machine.ask("b", "u2", ["rok", "najam"], "c", [], "search", None)
    machine.ask("a", "u1", ["rok", "najam"], "c", [], "query", None)
    machine.look("a", "/v1/collections")
    machine.look("b", "/v1/collections")
    machine.look("b", "/v1/audit")
    machine.put("b", "", 4, ROK, "zakoni", "hr")
    machine.ask("b", "u2", ["rok", "najam"], None, [], "search", None)


def quotas(machine: Tenancies) -> None:
    """Each tenant meets its own quota of documents. Its chunks fit, however many another has."""
    for tenant in ("a", "b"):
        for number in (1, 2, 3):
            machine.put(tenant, "", number, ROK, "default", "hr")
        machine.look_at_the_last_job(tenant)
    machine.retry_the_last_job("a")


def reindexings(machine: Tenancies) -> None:
    """Two tenants reindex at once, into generations of one name. A document of one of them fails at first."""
    for tenant in ("a", "b"):
        for number in (1, 2):
            machine.put(tenant, "", number, ROK, "default", "hr")
    for tenant in ("a", "b"):
        machine.reindex(tenant)
        machine.look_at_the_last_job(tenant)
    machine.hold()
    machine.lose_bytes("a", "", 2)
    for tenant in ("a", "b"):
        machine.reindex(tenant)
        machine.reindex(tenant)
    machine.resume()
    for tenant in ("a", "b"):
        machine.look_at_the_last_job(tenant)
        machine.look(tenant, "/v1/reindex")
    machine.put("a", "", 2, NAJAM, "default", "hr")
    for tenant in ("b", "a"):
        machine.reindex(tenant)
        machine.look_at_the_last_job(tenant)
        machine.ask(tenant, "u2", ["rok", "ugovor"], None, [], "search", None)


def sweeps(machine: Tenancies) -> None:
    """One tenant keeps what has ended for a moment only. The others keep it."""
    for tenant, words in (("a", ROK), ("b", NAJAM)):
        machine.put(tenant, "", 1, words, "zakoni", "hr")
        machine.ask(tenant, "u2", ["rok"], None, [], "query", None)
        machine.rotate(tenant)
    machine.keep_for_a_moment("a", {*KEPT})
    machine.sweep()
    for tenant in ("a", "b", "c"):
        machine.look_at_the_last_job(tenant)
        for path in LOOKS:
            machine.look(tenant, path)


TIGHT = {"quotas": {"documents": 2, "chunks": 3}}
SCENES: dict[str, Callable[[Tenancies], None]] = {
    scene.__name__: scene
    for scene in (
        looks, versions, questions, collections, repetitions, waiting, metadata, keys, deletions, quotas, reindexings,
        sweeps,
    )
}  # fmt: skip
