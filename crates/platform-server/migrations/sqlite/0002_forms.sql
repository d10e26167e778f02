-- Forms that may be sent once, and were: a reload of the page with a new token must not make another user.
CREATE TABLE console_form (
    hash BLOB PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL
) STRICT;
