"""Files and multi-part uploads: OpenAI's /v1/files and /v1/uploads."""
