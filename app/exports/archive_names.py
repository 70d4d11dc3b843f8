"""Names of exported archives and of the folder in them, safe on any file system."""

import re

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def folder_name(model_name: str, format_: str) -> str:
    """Name of the folder in the archive, such as `my-base-acme-desk-Abcd1234-gguf`."""
    name = UNSAFE.sub("-", model_name.removeprefix("ft:")).strip("-.")
    return f"{name}-{format_}"[-200:].strip("-.")


def archive_name(model_name: str, format_: str) -> str:
    return f"{folder_name(model_name, format_)}.tar"
