"""Backup and restore: one consistent snapshot of the database and every object that it needs.

A folder of backups contains:

    lock                             held by the command that uses the folder
    objects/ab/abcd…                 stored objects of all backups, named by their SHA-256
    backups/20261129T040000Z/
        tables/jobs.copy.gz          rows in the text format of Postgres's COPY, compressed
        objects.jsonl.gz             {"key", "bytes", "sha256"} of each object, a line each
        manifest.json                versions, columns, counts and checksums; written last

The rows are read in one transaction that sees one snapshot. They are in COPY's text format, which
is the same in all versions of Postgres, and the schema is made by Luthier's own migrations: a
backup can be restored into another version of Postgres, and needs no programs of the server.

An object is deleted only after its row, so the objects of the snapshot still exist while a
deletion hold (`app.db.deletion_hold`) is in force. A folder without a manifest is not a backup.
"""
