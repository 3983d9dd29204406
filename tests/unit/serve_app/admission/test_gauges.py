from __future__ import annotations

from deployments.telemetry.metrics import SLOTS, SLOTS_USED, SLOTS_WAITED_FOR
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.gauges import AdmissionGauges
from serve_app.admission.protocol import AdmissionLimits
from serve_app.admission.replica import ReplicaAdmission
from serve_app.query.deadline import Deadline
from tests.support.recorder import RecordedMetrics


async def test_slots_are_counted_while_they_are_held() -> None:
    recorder, admission = RecordedMetrics(), ReplicaAdmission(AdmissionConfig(), initial_slots=2)
    gauges = AdmissionGauges(admission, recorder)
    slot = await admission.acquire_slot("t", AdmissionLimits(1.0, None, None), Deadline(5))
    gauges.record()
    slot.release(answered=True)
    gauges.record()
    assert [value for _, value in recorder.of(SLOTS)] == [2, 2]
    assert [value for _, value in recorder.of(SLOTS_USED)] == [1, 0]
    assert [value for _, value in recorder.of(SLOTS_WAITED_FOR)] == [0, 0]
