"""How busy a replica is, as metrics."""

from __future__ import annotations

import asyncio

from deployments.tasks import Background
from deployments.telemetry.metrics import GAUGES_EVERY_S, SLOTS, SLOTS_USED, SLOTS_WAITED_FOR, Recorder
from serve_app.admission.replica import ReplicaAdmission


class AdmissionGauges(Background):
    def __init__(self, admission: ReplicaAdmission, recorder: Recorder) -> None:
        super().__init__()
        self._admission = admission
        self._recorder = recorder

    def record(self) -> None:
        self._recorder.record(SLOTS, self._admission.slots)
        self._recorder.record(SLOTS_USED, self._admission.running)
        self._recorder.record(SLOTS_WAITED_FOR, self._admission.waiting)

    async def _run(self) -> None:
        while True:
            self.record()
            await asyncio.sleep(GAUGES_EVERY_S)
