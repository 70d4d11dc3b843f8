"""Requests to addresses that users give: only to where a stranger on the internet could go too."""
