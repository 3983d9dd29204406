"""One fixed run of the machine in `tenancies.py` that touches every filter."""

from __future__ import annotations

from tests.support.tenancies import LOOKS, Tenancies, Worlds


def run(worlds: Worlds) -> None:
    """Raises AssertionError where one tenant feels another."""
    machine = type("Scenario", (Tenancies,), {"worlds": worlds})()
    machine.begin()
    rok, najam = ["rok", "žalba", "dana"], ["najam", "ugovor", "rok"]
    for tenant, words in (("a", rok), ("b", najam), ("c", rok + najam)):
        for owner in ("", "u1", "u2"):
            machine.put(tenant, owner, 1, words, "zakoni", "hr")
            machine.put(tenant, owner, 2, words[::-1], "default", "hr")
    machine.put("a", "", 1, ["porez", *rok], "zakoni", "hr")  # a new version beside b's document of that id
    machine.put("a", "", 1, ["porez", *rok], "zakoni", "hr")  # and once more, unchanged
    machine.put("a", "", 3, rok, "zakoni", "hr")
    machine.put("b", "", 3, rok, "upute", "hr")
    for tenant in ("a", "b", "c"):
        for path in LOOKS:
            machine.look(tenant, path)
        for other in ("a", "b", "c"):
            machine.trespass(tenant, other)
    for route in ("search", "query", "stream", "command", "rpc", "chat", "streamed chat"):
        for tenant in ("a", "b"):
            for user in ("u1", "u2"):
                machine.ask(tenant, user, ["rok", "ugovor"], "c", [], route, None)
    machine.ask("b", "u2", ["rok"], None, ["default"], "search", "metadata.number >= 2")
    machine.change_collection("a", "upute", "POST")
    machine.ask_in_a_collection("c", "upute")
    machine.put_what_all_have("a", 1, True, "same key")
    machine.put_what_all_have("b", 1, False, "same key")
    machine.put_what_all_have("b", 1, False, "same key")
    machine.put_what_all_have("a", 1, True, "same key")
    machine.put_what_all_have("b", 2, False, None)
    machine.put_what_all_have("c", 2, False, None)
    machine.ask("b", "u2", ["rok", "žalba"], "a", [], "search", None)
    machine.hold()
    machine.put_what_all_have("a", 2, True, "same key")
    machine.put_wrongly("b", 2)
    machine.put_what_all_have("a", 2, True, "same key")
    machine.put_what_all_have("c", 1, False, None)
    machine.put_what_all_have("b", 1, False, None)
    machine.look_at_the_last_job("b")
    machine.put("b", "", 5, rok, "zakoni", "hr")
    machine.put("b", "", 2, rok, "zakoni", "hr")
    machine.delete("a", "", 2)
    machine.change_collection("c", "zakoni", "DELETE")
    machine.delete_tenant_beside_another_s_work("c", "b")
    machine.resume()
    machine.look_at_the_last_job("b")
    machine.ask("b", "u2", ["rok", "žalba"], "a", [], "search", None)
    machine.put("a", "", 5, rok, "upute", "hr")
    machine.change_collection("b", "upute", "PATCH")
    machine.hold()
    machine.put("a", "", 5, rok, "upute", "hr")  # no work: it is b's documents that are cut otherwise now
    machine.look_at_the_last_job("a")
    machine.put("b", "", 3, rok, "upute", "hr")
    machine.look_at_the_last_job("b")
    machine.resume()
    machine.change_collection("a", "upute", "PATCH")
    machine.change_collection("a", "zakoni", "DELETE")
    machine.look("b", "/v1/collections")
    machine.ask("b", "u1", ["rok"], None, [], "search", None)
    for tenant in ("a", "b", "c"):
        machine.put(tenant, "", 4, rok, "default", "hr")
    machine.change_metadata("b", "", 4, 3)
    machine.look("b", "/v1/documents")
    machine.ask("b", "u2", ["rok"], None, [], "search", "metadata.number == 3")
    machine.delete_chosen("a", "", 4)
    machine.look("c", "/v1/documents")
    machine.ask("c", "u2", ["rok"], None, [], "search", "metadata.number == 4")
    machine.rotate("a")
    machine.rotate("b")
    machine.delete("a", "", 2)
    machine.delete("a", "", 2)
    machine.delete("b", "u1", 1)
    machine.ask("b", "u1", ["najam", "rok"], None, [], "search", None)
    machine.ask("c", "u2", ["rok"], None, [], "search", None)
    machine.delete_tenant("c")
    machine.ask("b", "u2", ["rok", "najam"], "c", [], "search", None)
    machine.ask("a", "u1", ["rok", "najam"], "c", [], "query", None)
    machine.look("a", "/v1/collections")
    machine.look("b", "/v1/collections")
    machine.look("b", "/v1/audit")
    machine.put("b", "", 4, rok, "zakoni", "hr")
    machine.ask("b", "u2", ["rok", "najam"], None, [], "search", None)
