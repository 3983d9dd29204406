from __future__ import annotations

import pytest

from serve_app import app
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.limiter import Limiter
from serve_app.admission.protocol import Grant, Report, TenantLoad, Terms, slice_of
from serve_app.config.args import AppArgs
from tests.support.clock import Seconds

CONFIG = AdmissionConfig(lease_s=5, kept_back=0)


class World:
    """A limiter and the last report of each replica, which it is told again whenever one changes."""

    def __init__(self, places: int = 8, config: AdmissionConfig = CONFIG) -> None:
        self.clock = Seconds()
        self.limiter = Limiter(config, self.clock)
        self.places = places
        self.told: dict[str, dict[str, TenantLoad]] = {}

    def tell(self, replica: str, **tenants: TenantLoad) -> None:
        self.told[replica] = tenants

    def grants(self) -> dict[str, Grant]:
        """After every replica has reported twice: the first time the limiter did not know of all."""
        for _ in range(2):
            grants = {
                replica: self.limiter.exchange(Report(replica, self.places, loads))
                for replica, loads in self.told.items()
            }
        return grants


def load(running: int = 0, waiting: int = 0, weight: float = 1.0, concurrent: int | None = None) -> TenantLoad:
    return TenantLoad(Terms(weight, None, concurrent), running, waiting)


def test_a_replica_alone_has_all_places_whether_or_not_it_wants_them() -> None:
    world = World()
    world.tell("r")
    assert world.grants()["r"].places == 8


def test_idle_replicas_have_equal_parts() -> None:
    world = World()
    world.tell("r")
    world.tell("s")
    assert {grant.places for grant in world.grants().values()} == {4}


def test_places_are_divided_by_tenants_and_not_by_how_much_each_asks() -> None:
    world = World()
    world.tell("r", a=load(running=8, waiting=200))
    world.tell("s", b=load(waiting=4))
    grants = world.grants()
    assert (grants["r"].places, grants["s"].places) == (4, 4)
    assert grants["s"].tenants["b"].share == 4


def test_a_tenants_places_go_where_its_questions_are() -> None:
    world = World()
    world.tell("r", a=load(waiting=30), b=load(waiting=3))
    world.tell("s", a=load(waiting=10), b=load(waiting=1))
    grants = world.grants()
    assert grants["r"].places + grants["s"].places == 8
    assert grants["r"].tenants["a"].share == pytest.approx(3)
    assert grants["s"].tenants["b"].share == pytest.approx(1)


def test_what_nobody_wants_is_granted_too() -> None:
    world = World()
    world.tell("r", a=load(running=2))
    world.tell("s")
    grants = world.grants()
    assert (grants["r"].places, grants["s"].places) == (5, 3)


def test_weights_count() -> None:
    world = World()
    world.tell("r", a=load(waiting=50, weight=3), b=load(waiting=50))
    assert {key: grant.share for key, grant in world.grants()["r"].tenants.items()} == {"a": 6, "b": 2}


def test_who_had_less_lately_gets_more_now_but_not_all() -> None:
    world = World()
    for second in range(60):
        world.clock.now = float(second)
        world.tell("r", a=load(running=8, waiting=50))
        world.grants()
    world.tell("r", a=load(running=8, waiting=50), b=load(waiting=50))
    shares = {key: grant.share for key, grant in world.grants()["r"].tenants.items()}
    assert shares == pytest.approx({"a": 1, "b": 7})


def test_what_was_had_is_forgotten() -> None:
    world = World()
    for second in range(400):
        world.clock.now = float(second)
        greedy = {"a": load(running=8, waiting=50)} if second < 30 else {}
        world.tell("r", **greedy)
        world.grants()
    world.tell("r", a=load(waiting=50), b=load(waiting=50))
    shares = {key: grant.share for key, grant in world.grants()["r"].tenants.items()}
    assert shares == pytest.approx({"a": 4, "b": 4})


def test_among_those_that_never_stop_weights_hold_in_the_long_run() -> None:
    world = World()
    shares = {"a": 4.0, "b": 4.0}
    for second in range(400):
        world.clock.now = float(second)
        now = {"a": load(round(shares["a"]), 50, weight=3), "b": load(round(shares["b"]), 50)}
        world.tell("r", **now)
        shares = {key: grant.share for key, grant in world.grants()["r"].tenants.items()}
    assert shares == pytest.approx({"a": 6, "b": 2}, abs=0.5)


def test_who_wants_more_leaves_some_free_while_others_are_about() -> None:
    world = World(places=10, config=CONFIG.model_copy(update={"kept_back": 0.2}))
    world.tell("r", a=load(running=4, waiting=50))
    world.tell("s", a=load(running=4, waiting=50), b=load(running=1))
    grants = world.grants()
    held = [grant.tenants["a"] for grant in grants.values()]
    assert sum(grant.share for grant in held) == pytest.approx(7)
    assert [grant.most for grant in held] == [4, 4]
    assert grants["s"].tenants["b"].most is None
    assert grants["r"].places + grants["s"].places == 10


@pytest.mark.parametrize("others", [{}, {"b": load(waiting=50)}])
def test_nothing_is_kept_back_for_nobody(others: dict[str, TenantLoad]) -> None:
    world = World(places=10, config=CONFIG.model_copy(update={"kept_back": 0.2}))
    world.tell("r", a=load(waiting=50), **others)
    grant = world.grants()["r"]
    assert sum(each.share for each in grant.tenants.values()) == pytest.approx(10)
    assert all(each.most is None for each in grant.tenants.values())


def test_the_shared_one_is_made_of_what_serve_hands_on() -> None:
    actor = app._limiter(AppArgs.model_validate({"admission": {"lease_s": 7}}))
    made = actor.get_actor_class().__ray_metadata__.modified_class(*actor.model_dump()["init_args"])
    assert made.exchange(Report("r", 8, {})).places == 8


def test_a_limit_on_concurrency_holds_over_all_replicas() -> None:
    world = World()
    world.tell("r", a=load(waiting=30, concurrent=4))
    world.tell("s", a=load(waiting=10, concurrent=4))
    grants = world.grants()
    assert (grants["r"].tenants["a"].most, grants["s"].tenants["a"].most) == (3, 1)


def test_a_silent_replicas_places_are_the_others_after_its_lease() -> None:
    world = World()
    world.tell("r", a=load(waiting=50))
    world.tell("s", b=load(waiting=50))
    assert world.grants()["r"].places == 4
    del world.told["s"]
    world.clock.now = 4.9
    assert world.grants()["r"].places == 4
    world.clock.now = 5.1
    assert world.grants()["r"].places == 8


def test_every_replica_has_a_place_however_many_there_are() -> None:
    world = World(places=2)
    for number in range(5):
        world.tell(f"r{number}")
    assert all(grant.places >= 1 for grant in world.grants().values())


class Rated:
    """Replicas that spend all that they are granted."""

    def __init__(self, rate: int, replicas: int) -> None:
        self.clock = Seconds()
        self.limiter = Limiter(CONFIG, self.clock)
        self.rate = rate
        self.left = dict.fromkeys((f"r{number}" for number in range(replicas)), slice_of(rate))

    def round(self) -> int:
        """All spend and report; how many requests went through."""
        through = 0
        for replica, left in self.left.items():
            through += left
            told = TenantLoad(Terms(1.0, self.rate), spent=left, wanted=100)
            grant = self.limiter.exchange(Report(replica, 8, {"a": told}))
            self.left[replica] = grant.tenants["a"].allowance
        return through


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_a_rate_is_overshot_by_no_more_than_a_slice_of_each_replica(replicas: int) -> None:
    rated = Rated(600, replicas)
    through = 0
    for step in range(601):
        rated.clock.now = step / 10
        through += rated.round()
    assert 2 * 600 - replicas * slice_of(600) <= through <= 2 * 600 + replicas * slice_of(600)


def test_an_overdrawn_rate_is_paid_back() -> None:
    rated = Rated(60, 40)
    through = sum(rated.round() for _ in range(3))
    assert 120 <= through <= 60 + 40 * slice_of(60)
    rated.clock.now = 30
    assert rated.round() + rated.round() == 0
    rated.clock.now = through - 60 + 3
    assert rated.round() + rated.round() == 3


def test_allowances_that_others_hold_are_not_granted_twice() -> None:
    limiter, terms = Limiter(CONFIG, Seconds()), Terms(1.0, 20)
    assert limiter.exchange(Report("r", 8, {"a": TenantLoad(terms, wanted=20)})).tenants["a"].allowance == 20
    assert limiter.exchange(Report("s", 8, {"a": TenantLoad(terms, wanted=5)})).tenants["a"].allowance == 0
    limiter.exchange(Report("r", 8, {"a": TenantLoad(terms, spent=10)}))
    assert limiter.exchange(Report("s", 8, {"a": TenantLoad(terms, wanted=5)})).tenants["a"].allowance == 5
