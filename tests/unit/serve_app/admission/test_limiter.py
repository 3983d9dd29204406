from __future__ import annotations

import pytest

from serve_app import app
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.limiter import Limiter
from serve_app.admission.protocol import AdmissionLimits, Grant, Report, TenantLoad, rate_slice
from serve_app.config.args import AppArgs
from tests.support.clock import Seconds

CONFIG = AdmissionConfig(lease_s=5, kept_back=0)


class Bench:
    """A limiter, and the last report of each replica, which is sent again whenever one changes."""

    def __init__(self, slots: int = 8, config: AdmissionConfig = CONFIG) -> None:
        self.clock = Seconds()
        self.limiter = Limiter(config, self.clock)
        self.slots = slots
        self.loads: dict[str, dict[str, TenantLoad]] = {}

    def report(self, replica: str, **tenants: TenantLoad) -> None:
        self.loads[replica] = tenants

    def grants(self) -> dict[str, Grant]:
        """The grants after two rounds of reports: in the first the limiter does not know every replica yet."""
        for _ in range(2):
            grants = {
                replica: self.limiter.sync(Report(replica, self.slots, loads)) for replica, loads in self.loads.items()
            }
        return grants


def load(running: int = 0, waiting: int = 0, weight: float = 1.0, concurrent: int | None = None) -> TenantLoad:
    return TenantLoad(AdmissionLimits(weight, None, concurrent), running, waiting)


def test_a_single_replica_gets_all_slots_even_when_it_is_idle() -> None:
    bench = Bench()
    bench.report("r")
    assert bench.grants()["r"].slots == 8


def test_idle_replicas_share_equally() -> None:
    bench = Bench()
    bench.report("r")
    bench.report("s")
    assert {grant.slots for grant in bench.grants().values()} == {4}


def test_a_longer_queue_gives_a_tenant_no_larger_share() -> None:
    bench = Bench()
    bench.report("r", a=load(running=8, waiting=200))
    bench.report("s", b=load(waiting=4))
    grants = bench.grants()
    assert (grants["r"].slots, grants["s"].slots) == (4, 4)
    assert grants["s"].tenants["b"].share == 4


def test_a_tenants_slots_are_divided_by_its_load_on_each_replica() -> None:
    bench = Bench()
    bench.report("r", a=load(waiting=30), b=load(waiting=3))
    bench.report("s", a=load(waiting=10), b=load(waiting=1))
    grants = bench.grants()
    assert grants["r"].slots + grants["s"].slots == 8
    assert grants["r"].tenants["a"].share == pytest.approx(3)
    assert grants["s"].tenants["b"].share == pytest.approx(1)


def test_unused_slots_are_granted_too() -> None:
    bench = Bench()
    bench.report("r", a=load(running=2))
    bench.report("s")
    grants = bench.grants()
    assert (grants["r"].slots, grants["s"].slots) == (5, 3)


def test_shares_follow_weights() -> None:
    bench = Bench()
    bench.report("r", a=load(waiting=50, weight=3), b=load(waiting=50))
    assert {key: grant.share for key, grant in bench.grants()["r"].tenants.items()} == {"a": 6, "b": 2}


def test_a_tenant_that_used_less_recently_gets_more_but_not_all() -> None:
    bench = Bench()
    for second in range(60):
        bench.clock.now = float(second)
        bench.report("r", a=load(running=8, waiting=50))
        bench.grants()
    bench.report("r", a=load(running=8, waiting=50), b=load(waiting=50))
    shares = {key: grant.share for key, grant in bench.grants()["r"].tenants.items()}
    assert shares == pytest.approx({"a": 1, "b": 7})


def test_recent_use_is_forgotten() -> None:
    bench = Bench()
    for second in range(400):
        bench.clock.now = float(second)
        loads = {"a": load(running=8, waiting=50)} if second < 30 else {}
        bench.report("r", **loads)
        bench.grants()
    bench.report("r", a=load(waiting=50), b=load(waiting=50))
    shares = {key: grant.share for key, grant in bench.grants()["r"].tenants.items()}
    assert shares == pytest.approx({"a": 4, "b": 4})


def test_weights_hold_in_the_long_run_among_tenants_that_never_stop() -> None:
    bench = Bench()
    shares = {"a": 4.0, "b": 4.0}
    for second in range(400):
        bench.clock.now = float(second)
        now = {"a": load(round(shares["a"]), 50, weight=3), "b": load(round(shares["b"]), 50)}
        bench.report("r", **now)
        shares = {key: grant.share for key, grant in bench.grants()["r"].tenants.items()}
    assert shares == pytest.approx({"a": 6, "b": 2}, abs=0.5)


def test_a_tenant_above_its_share_leaves_slots_free_while_others_are_active() -> None:
    bench = Bench(slots=10, config=CONFIG.model_copy(update={"kept_back": 0.2}))
    bench.report("r", a=load(running=4, waiting=50))
    bench.report("s", a=load(running=4, waiting=50), b=load(running=1))
    grants = bench.grants()
    grants_of_a = [grant.tenants["a"] for grant in grants.values()]
    assert sum(grant.share for grant in grants_of_a) == pytest.approx(7)
    assert [grant.max_running for grant in grants_of_a] == [4, 4]
    assert grants["s"].tenants["b"].max_running is None
    assert grants["r"].slots + grants["s"].slots == 10


@pytest.mark.parametrize("others", [{}, {"b": load(waiting=50)}])
def test_no_slots_are_kept_back_without_other_active_tenants(others: dict[str, TenantLoad]) -> None:
    bench = Bench(slots=10, config=CONFIG.model_copy(update={"kept_back": 0.2}))
    bench.report("r", a=load(waiting=50), **others)
    grant = bench.grants()["r"]
    assert sum(tenant.share for tenant in grant.tenants.values()) == pytest.approx(10)
    assert all(tenant.max_running is None for tenant in grant.tenants.values())


def test_the_limiter_actor_is_built_from_what_serve_passes_on() -> None:
    actor = app._limiter(AppArgs.model_validate({"admission": {"lease_s": 7}}))
    limiter = actor.get_actor_class().__ray_metadata__.modified_class(*actor.model_dump()["init_args"])
    assert limiter.sync(Report("r", 8, {})).slots == 8


def test_a_concurrency_limit_holds_over_all_replicas() -> None:
    bench = Bench()
    bench.report("r", a=load(waiting=30, concurrent=4))
    bench.report("s", a=load(waiting=10, concurrent=4))
    grants = bench.grants()
    assert (grants["r"].tenants["a"].max_running, grants["s"].tenants["a"].max_running) == (3, 1)


def test_a_silent_replicas_slots_go_to_the_others_after_its_lease() -> None:
    bench = Bench()
    bench.report("r", a=load(waiting=50))
    bench.report("s", b=load(waiting=50))
    assert bench.grants()["r"].slots == 4
    del bench.loads["s"]
    bench.clock.now = 4.9
    assert bench.grants()["r"].slots == 4
    bench.clock.now = 5.1
    assert bench.grants()["r"].slots == 8


def test_every_replica_gets_a_slot_even_when_there_are_more_replicas_than_slots() -> None:
    bench = Bench(slots=2)
    for number in range(5):
        bench.report(f"r{number}")
    assert all(grant.slots >= 1 for grant in bench.grants().values())


class Spenders:
    """Replicas that spend their whole allowance."""

    def __init__(self, rate: int, replicas: int) -> None:
        self.clock = Seconds()
        self.limiter = Limiter(CONFIG, self.clock)
        self.rate = rate
        self.allowances = dict.fromkeys((f"r{number}" for number in range(replicas)), rate_slice(rate))

    def round(self) -> int:
        """All replicas spend and report. Returns how many requests got through."""
        through = 0
        for replica, allowance in self.allowances.items():
            through += allowance
            load = TenantLoad(AdmissionLimits(1.0, self.rate), spent=allowance, wanted=100)
            grant = self.limiter.sync(Report(replica, 8, {"a": load}))
            self.allowances[replica] = grant.tenants["a"].allowance
        return through


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_a_rate_is_overshot_by_at_most_one_slice_per_replica(replicas: int) -> None:
    spenders = Spenders(600, replicas)
    through = 0
    for step in range(601):
        spenders.clock.now = step / 10
        through += spenders.round()
    assert 2 * 600 - replicas * rate_slice(600) <= through <= 2 * 600 + replicas * rate_slice(600)


def test_an_overdrawn_rate_is_repaid() -> None:
    spenders = Spenders(60, 40)
    through = sum(spenders.round() for _ in range(3))
    assert 120 <= through <= 60 + 40 * rate_slice(60)
    spenders.clock.now = 30
    assert spenders.round() + spenders.round() == 0
    spenders.clock.now = through - 60 + 3
    assert spenders.round() + spenders.round() == 3


def test_an_allowance_granted_to_one_replica_is_not_granted_to_another() -> None:
    limiter, limits = Limiter(CONFIG, Seconds()), AdmissionLimits(1.0, 20)
    assert limiter.sync(Report("r", 8, {"a": TenantLoad(limits, wanted=20)})).tenants["a"].allowance == 20
    assert limiter.sync(Report("s", 8, {"a": TenantLoad(limits, wanted=5)})).tenants["a"].allowance == 0
    limiter.sync(Report("r", 8, {"a": TenantLoad(limits, spent=10)}))
    assert limiter.sync(Report("s", 8, {"a": TenantLoad(limits, wanted=5)})).tenants["a"].allowance == 5
