-- Requests of the last minute, for the rate limit that all platforms on this database share. Nothing is lost with it.
CREATE UNLOGGED TABLE request_count (
    caller TEXT NOT NULL,
    method TEXT NOT NULL,
    route TEXT NOT NULL,
    second BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (caller, method, route, second)
);
