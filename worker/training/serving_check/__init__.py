"""Check that a chat model is served as it was trained, before its job succeeds.

Training computes log-probabilities of answers of the job's file with the chosen weights. Once it
has released its memory, the engine computes them from the stored adapter; both must agree. An
adapter like one that agreed in an earlier job is compared by its files alone (`stored.py`).
"""
