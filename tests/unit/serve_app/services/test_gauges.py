from __future__ import annotations

import pytest
from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

from deployments.telemetry.metrics import BLOB_BYTES, GAUGES_EVERY_S
from serve_app.platform import backlog
from serve_app.platform.backlog import Backlog
from serve_app.services import gauges
from serve_app.services.gauges import BacklogGauges
from serve_app.storage.database import Database
from tests.support.recorder import RecordedMetrics
from tests.support.waiting import until

READ = Backlog({"light": 0, "normal": 1, "heavy": 0}, 3.0, 4, 5, 6, 7)


def test_a_gauge_is_set_again_before_ray_forgets_it() -> None:
    assert OpenTelemetryMetricRecorder._resolve_gauge_ttl_seconds(None) / 2 >= 2 * GAUGES_EVERY_S


@pytest.mark.parametrize("then_fails", [False, True])
async def test_what_was_read_once_is_recorded_often(monkeypatch: pytest.MonkeyPatch, then_fails: bool) -> None:
    """Also while the database cannot be read."""
    reads, recorder = 0, RecordedMetrics()

    async def read(_: Database) -> Backlog:
        nonlocal reads
        reads += 1
        if then_fails and reads > 1:
            raise OSError("away")
        return READ

    monkeypatch.setattr(backlog, "read", read)
    monkeypatch.setattr(gauges, "GAUGES_EVERY_S", 0)
    recording = BacklogGauges(Database.__new__(Database), recorder)
    recording.start()
    try:
        await until(lambda: len(recorder.of(BLOB_BYTES)) >= 3 * gauges.READ_EVERY)
    finally:
        await recording.close()
    recorded = recorder.of(BLOB_BYTES)
    assert {value for _, value in recorded} == {6}
    assert (reads - 1) * gauges.READ_EVERY < len(recorded) <= reads * gauges.READ_EVERY
