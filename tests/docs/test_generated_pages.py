"""The generated parts of the documentation match the code."""

import pytest

from scripts.generate_reference import REGIONS, Region


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_generated_page_is_up_to_date(region: Region) -> None:
    assert region.is_current(), f"docs/{region.page} is out of date; run `make reference`"
