"""OCR through the service against the `rapidocr-onnxruntime` package alone, in one run.

Both read the same pages with the same model files on the same CPUs; equal text is asserted before anything is timed.
Runs alternate, so that a busy machine slows both alike, and the best of each counts. CPU time is the whole process's.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PAGES = ("library-letter.png", "delivery-note.png", "remote-work-form.tiff", "cafe-receipt.jpg")
ROUNDS = 3


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds, and what the work gave."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s, result


def main() -> None:
    """Print the figures as JSON."""
    from rapidocr_onnxruntime import RapidOCR

    from inference_server.engine import OcrEngine
    from tests.support.inference import MODEL, inference, ocr_model

    data = [(ROOT / "examples" / "documents" / name).read_bytes() for name in PAGES]
    package = RapidOCR()

    def alone(pages: list[bytes]) -> list[str]:
        return ["\n".join(line[1] for line in package(page)[0]) for page in pages]

    load_s, _, engine = timed(lambda: OcrEngine(ocr_model()))
    warm_s, _, _ = timed(engine.warm_up)
    alone(data[:1])
    figures: dict[str, list[tuple[float, float]]] = {}
    with (
        inference(engine, load=lambda: (engine, dict(MODEL))) as service,
        ThreadPoolExecutor(len(data)) as pool,
    ):

        def served(pages: list[bytes]) -> list[str]:
            return [answer.json["text"] for answer in pool.map(service.ocr, pages)]

        assert served(data) == alone(data), "the texts differ"
        cases: dict[str, Callable[[], list[str]]] = {
            "package_one_page": lambda: alone(data[:1]),
            "service_one_page": lambda: served(data[:1]),
            "package_four_pages": lambda: alone(data),
            "service_four_pages_at_once": lambda: served(data),
        }
        for _ in range(ROUNDS):
            for name, work in cases.items():
                wall_s, cpu_s, _ = timed(work)
                figures.setdefault(name, []).append((wall_s, cpu_s))
    best = {
        name: {"wall_s": min(w for w, _ in runs), "cpu_s": min(c for _, c in runs)}
        for name, runs in figures.items()
    }
    one, four = best["service_one_page"], best["service_four_pages_at_once"]
    ratios = {
        "one_page_wall": one["wall_s"] / best["package_one_page"]["wall_s"],
        "one_page_cpu": one["cpu_s"] / best["package_one_page"]["cpu_s"],
        "four_pages_wall": four["wall_s"] / best["package_four_pages"]["wall_s"],
        "four_pages_cpu": four["cpu_s"] / best["package_four_pages"]["cpu_s"],
    }
    facts = {
        "provider": engine.providers[0],
        "threads": engine.threads,
        "load_s": round(load_s, 3),
        "warm_up_s": round(warm_s, 3),
        "best": {name: {key: round(value, 3) for key, value in row.items()} for name, row in best.items()},
        "ratio_to_package": {name: round(value, 3) for name, value in ratios.items()},
    }
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
