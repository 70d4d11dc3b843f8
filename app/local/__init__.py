"""What `luthier up` runs: Postgres and Valkey from wheels, the four processes, and their keeper."""
