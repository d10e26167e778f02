-- How many requests a row stands for, and the address or network that they came from.
ALTER TABLE audit ADD COLUMN requests BIGINT NOT NULL DEFAULT 1;
ALTER TABLE audit ADD COLUMN peer TEXT;

-- Rows of the audit log up to `through` are in a file that is on the disk. Only such rows can be deleted.
CREATE TABLE audit_export (
    through BIGINT PRIMARY KEY,
    file TEXT NOT NULL,
    at BIGINT NOT NULL
);

DROP TRIGGER audit_is_append_only ON audit;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
CREATE FUNCTION audit_row_is_exported() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.id > (SELECT coalesce(max(through), 0) FROM audit_export) THEN
        RAISE EXCEPTION 'the audit log is append-only';
    END IF;
    RETURN OLD;
END;
$$;
CREATE TRIGGER audit_row_is_exported BEFORE DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_row_is_exported();

-- Sessions of an earlier release end: it is not known when they were last used.
ALTER TABLE console_session ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE console_session ADD COLUMN idle_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE console_session ADD COLUMN peer TEXT;
ALTER TABLE console_session ADD COLUMN agent TEXT NOT NULL DEFAULT '';

-- `hash` is of an e-mail address and of where the attempt came from, `address` of the e-mail address alone.
DROP TABLE console_failure;
CREATE TABLE console_failure (
    hash BYTEA PRIMARY KEY,
    address BYTEA NOT NULL,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX console_failure_address ON console_failure (address);

-- Browsers in which a user has signed in. Such a cookie opens nothing: it has a count of failures of its own.
CREATE TABLE console_device (
    hash BYTEA PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES platform_user (id) ON DELETE CASCADE CHECK (user_id LIKE 'u-%'),
    last_at BIGINT NOT NULL
);
CREATE INDEX console_device_user ON console_device (user_id);
