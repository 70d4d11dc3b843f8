"""`luthier up` on one machine: embedded Postgres and Valkey, four processes, a supervisor."""
