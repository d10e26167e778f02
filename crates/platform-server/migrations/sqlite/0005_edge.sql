-- How many requests a row stands for, and the address or network that they came from.
ALTER TABLE audit ADD COLUMN requests INTEGER NOT NULL DEFAULT 1;
ALTER TABLE audit ADD COLUMN peer TEXT;

-- Rows of the audit log up to `through` are in a file that is on the disk. Only such rows can be deleted.
CREATE TABLE audit_export (
    through INTEGER PRIMARY KEY NOT NULL,
    file TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

DROP TRIGGER audit_is_append_only_delete;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
WHEN OLD.id > (SELECT coalesce(max(through), 0) FROM audit_export)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- Sessions of an earlier release end: it is not known when they were last used.
ALTER TABLE console_session ADD COLUMN last_used_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE console_session ADD COLUMN idle_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE console_session ADD COLUMN peer TEXT;
ALTER TABLE console_session ADD COLUMN agent TEXT NOT NULL DEFAULT '';

-- `hash` is of an e-mail address and of where the attempt came from, `address` of the e-mail address alone.
DROP TABLE console_failure;
CREATE TABLE console_failure (
    hash BLOB PRIMARY KEY NOT NULL,
    address BLOB NOT NULL,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT;
CREATE INDEX console_failure_address ON console_failure (address);

-- Browsers in which a user has signed in. Such a cookie opens nothing: it has a count of failures of its own.
CREATE TABLE console_device (
    hash BLOB PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES platform_user (id) ON DELETE CASCADE CHECK (user_id GLOB 'u-*'),
    last_at INTEGER NOT NULL
) STRICT;
CREATE INDEX console_device_user ON console_device (user_id);
