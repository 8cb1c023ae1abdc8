"""The SimFaaS side of bench_planner: runs under SimFaaS's own interpreter and prints one JSON line per run.

Usage: python simfaas_side.py RATE SERVICE_MEAN IDLE_TIMEOUT HORIZON RUNS SEED
"""

import json
import sys
import time
import warnings

import numpy as np
from simfaas.ServerlessSimulator import ServerlessSimulator

warnings.simplefilter("ignore")  # SimFaaS averages over empty slices when nothing expired


def main() -> None:
    """Runs of one configuration; CPU seconds are those of the simulation alone, not of the imports."""
    rate, service, timeout, horizon = map(float, sys.argv[1:5])
    np.random.seed(int(sys.argv[6]))
    for _ in range(int(sys.argv[5])):
        simulator = ServerlessSimulator(
            arrival_rate=rate,
            warm_service_rate=1 / service,
            cold_service_rate=1 / service,
            expiration_threshold=timeout,
            max_time=horizon,
            maximum_concurrency=10**6,
        )
        cpu = time.process_time()
        simulator.generate_trace(debug_print=False, progress=False)
        cpu = time.process_time() - cpu
        result = simulator.get_result_dict()
        print(
            json.dumps(
                {
                    "requests": int(result["reqs_total"]),
                    "cold": float(result["prob_cold"]),
                    "instances": float(result["inst_count_avg"]),
                    "busy": float(result["inst_running_count_avg"]),
                    "cpu_s": cpu,
                }
            ),
            flush=True,
        )


main()
