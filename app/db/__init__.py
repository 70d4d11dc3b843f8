"""Database: tables, sessions, migrations, pagination and the transactional outbox."""
