"""uvicorn with the limits that it lacks, for the API and the engine."""
