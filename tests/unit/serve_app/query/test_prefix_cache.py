from __future__ import annotations

import pytest

from serve_app.query.config import PromptConfig
from serve_app.query.prefix_cache import PrefixTree, PromptPrefixCache
from tests.support.pipeline import passage


def arranged(prefixes: PromptPrefixCache, *numbers: int, tenant: str = "t", before: str = "system") -> list[int]:
    found = prefixes.arrange(tenant, before, [passage(number) for number in numbers])
    return [int(each.id[1:]) for each in found]


def prefixes(**config: object) -> PromptPrefixCache:
    return PromptPrefixCache(PromptConfig.model_validate(config))


def test_the_best_passage_comes_first_and_then_what_a_prompt_began_with() -> None:
    known = prefixes()
    assert arranged(known, 1, 2, 3, 4) == [1, 2, 3, 4]
    assert arranged(known, 1, 5, 3, 2) == [1, 2, 3, 5]
    assert arranged(known, 3, 1, 2, 5) == [3, 1, 2, 5]


def test_a_free_order_begins_as_an_earlier_prompt_whatever_is_best() -> None:
    known = prefixes(order="free")
    assert arranged(known, 1, 2, 3) == [1, 2, 3]
    assert arranged(known, 4, 2, 1) == [1, 2, 4]


def test_by_rank_nothing_moves() -> None:
    known = prefixes(order="rank")
    assert arranged(known, 1, 2, 3) == [1, 2, 3]
    assert arranged(known, 1, 3, 2) == [1, 3, 2]


@pytest.mark.parametrize("order", ["best_first", "free", "rank"])
def test_there_may_be_no_passages(order: str) -> None:
    assert arranged(prefixes(order=order)) == []


def test_what_no_prompt_began_with_stays_by_rank() -> None:
    known = prefixes()
    arranged(known, 1, 2, 3)
    assert arranged(known, 1, 9, 7, 8) == [1, 9, 7, 8]


def test_the_longest_beginning_counts_by_its_text_and_not_by_its_passages() -> None:
    known = prefixes()
    for sent in ([1, 2, 3], [1, 4]):
        known.arrange("t", "system", [passage(n, text="x" * (1000 if n == 4 else 10)) for n in sent])
    asked = [passage(n, text="x" * (1000 if n == 4 else 10)) for n in (1, 2, 3, 4)]
    assert [each.id for each in known.arrange("t", "system", asked)] == ["p1", "p4", "p2", "p3"]


def test_a_prompt_of_another_tenant_or_another_system_part_is_no_beginning() -> None:
    known = prefixes()
    arranged(known, 1, 2, 3)
    assert arranged(known, 1, 3, 2, tenant="other") == [1, 3, 2]
    assert arranged(known, 1, 3, 2, before="another") == [1, 3, 2]
    assert arranged(known, 1, 3, 2) == [1, 2, 3]


def test_the_tenant_that_asked_least_recently_is_forgotten_first() -> None:
    known = prefixes(max_tenants=2)
    for tenant in ("a", "b", "a", "c"):
        arranged(known, 1, 2, 3, tenant=tenant)
    assert arranged(known, 1, 3, 2, tenant="a") == [1, 2, 3]
    assert arranged(known, 1, 3, 2, tenant="b") == [1, 3, 2]


def test_a_tenant_s_own_questions_push_out_what_it_asked_before() -> None:
    known = prefixes(max_passages=6)  # and the system part before them
    arranged(known, 1, 2, 3)
    arranged(known, 4, 5)
    assert arranged(known, 1, 3, 2) == [1, 2, 3]
    arranged(known, 6, 7)
    assert arranged(known, 4, 9, 5) == [4, 9, 5]


def test_places_are_bounded_and_the_end_of_what_is_not_met_goes_first() -> None:
    tree = PrefixTree(3)
    tree.remember("abc")
    tree.remember("ad")
    assert len(tree) == 3
    assert tree.longest("a", dict.fromkeys("bcd", 1)) == ["b"]
    assert tree.longest("ab", {"c": 1}) == []
    assert tree.longest("", {"a": 1, "d": 1}) == ["a", "d"]


def test_a_sequence_longer_than_the_bound_keeps_its_beginning() -> None:
    tree = PrefixTree(2)
    tree.remember("abcd")
    assert tree.longest("", dict.fromkeys("abcd", 1)) == ["a", "b"]


def test_after_what_is_unknown_nothing_is_known() -> None:
    tree = PrefixTree(10)
    tree.remember("abc")
    assert tree.longest("xb", {"c": 1}) == []
    assert tree.longest("abcd", {"e": 1}) == []
