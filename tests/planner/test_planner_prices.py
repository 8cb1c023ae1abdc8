"""The price file: every price is sourced and checked or called unchecked; overrides win and show their date.

Does not prove that AWS's prices are still those of the file: it is dated.
"""

import json
from pathlib import Path

import pytest

from keepwarm_planner import prices
from keepwarm_planner.errors import CODES, PlannerError
from keepwarm_planner.model.design import Design


def test_given_shipped_prices_when_loaded_then_every_region_is_dated_and_sourced() -> None:
    assert "us-east-1" in prices.regions()
    for region in prices.regions():
        p = prices.load(region)
        assert p.dated.startswith("20")
        assert all(page.startswith("https://aws.amazon.com/") for page in p.sources.values())
        assert p.provisioned_gb_s_x86 < p.lambda_gb_s_x86
        assert p.ec2_hour
    assert prices.load("us-east-1").lambda_gb_s_x86 == 0.0000166667


def test_given_shipped_prices_then_each_is_checked_or_called_unchecked() -> None:
    document = json.loads(prices.DATA.read_text())
    for region in prices.regions():
        p = prices.load(region)
        known = {n for n, v in document["regions"][region].items() if v is not None} - {"ec2_hour"} | set(
            p.ec2_hour
        )
        # a check that names a price which is not there checked nothing
        assert set(p.checks) <= known, set(p.checks) - known
        assert set(p.unchecked()) == known - set(p.checks)
        assert all(" read 20" in source for source in p.checks.values())
        assert all(p.page(name).startswith("https://aws.amazon.com/") for name in known)
    # what every default answer is made of was read against a source
    assert prices.load("us-east-1").unchecked() == []
    assert "sqs_request" in prices.load("eu-west-1").unchecked()
    assert (
        prices.load("eu-west-1").stamp(["lambda_request", "sqs_request"]).endswith(", unchecked: sqs_request")
    )
    assert prices.load("eu-west-1").stamp(["lambda_request"]).endswith(" of 2026-11-24")


def test_given_override_when_loaded_then_it_wins_and_the_date_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        json.dumps(
            {
                "dated": "2026-11-01",
                "regions": {"us-east-1": {"lambda_request": 1.0, "ec2_hour": {"x.large": 2.0}}},
            }
        )
    )
    p = prices.load("us-east-1", path)
    assert p.lambda_request == 1.0
    assert p.instance_hour("x.large") == 2.0
    assert p.instance_hour("g4dn.xlarge") == 0.526
    assert "2026-11-01" in p.dated
    assert p.checks["lambda_request"] == p.checks["x.large"] == "given in p.json of 2026-11-01"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "KW511"),
        ("[]", "KW511"),
        ('{"regions": {}}', "KW511"),
        ('{"dated": "x", "region": {}}', "KW511"),
        ('{"dated": "x", "currency": "EUR"}', "KW511"),
        ('{"dated": "x", "regions": {"us-east-1": {"lambda_request": -1}}}', "KW511"),
        ('{"dated": "x", "regions": {"us-east-1": {"lambda_request": NaN}}}', "KW511"),
        ('{"dated": "x", "regions": {"us-east-1": {"lambda_reqest": 1}}}', "KW511"),
        ('{"dated": "x", "regions": {"moon-1": {"lambda_request": 1}}}', "KW511"),
    ],
)
def test_given_bad_price_file_when_loaded_then_coded(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(PlannerError, match=code):
        prices.load("moon-1" if "moon" in text else "us-east-1", path)


def test_given_unknown_region_or_missing_price_when_needed_then_kw510() -> None:
    with pytest.raises(PlannerError, match="KW510"):
        prices.load("mars-1")
    with pytest.raises(PlannerError, match="KW510"):
        prices.load("eu-west-1").needed("snapstart_cache_gb_s")
    with pytest.raises(PlannerError, match="KW503"):
        prices.load("us-east-1", Path("/nowhere/p.json"))


def test_given_codes_then_each_is_in_the_planners_block() -> None:
    assert all(code.startswith("KW5") and meaning.endswith(".") for code, meaning in CODES.items())
    with pytest.raises(KeyError):
        PlannerError("KW999", "x", 1, "y")
    assert Design("x").peak_environments == 0
