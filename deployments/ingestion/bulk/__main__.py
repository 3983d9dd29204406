"""The entry point of a Ray Job of bulk ingestion. Its log is the job's log in the dashboard."""

from __future__ import annotations

import argparse
import logging
import sys

import ray
from ray import serve

from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.pipeline import run_pipeline
from deployments.ingestion.bulk.runner import BulkJobLost, Runner

logger = logging.getLogger("deployments.ingestion.bulk")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.ingestion.bulk", description=__doc__)
    meanings = {
        "address": "the Ray cluster, as HOST:PORT",
        "application": "Serve application",
        "tenant": "the job's tenant",
        "job": "the job's id",
    }
    for name, meaning in meanings.items():
        parser.add_argument(f"--{name}", required=True, help=meaning)
    arguments = parser.parse_args()
    ray.init(address=arguments.address)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ports: BulkPorts = serve.get_deployment_handle("ingestion", arguments.application).bulk_ports.remote().result()
    try:
        Runner(ports, BulkJob(arguments.tenant, arguments.job), run_pipeline).run()
    except BulkJobLost as error:
        logger.warning("nothing left to do here: %s", error)
    except Exception:
        logger.exception("the workers go on with the documents that are left")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
