//! How many requests there were of late, counted in the database where several platforms share it: together they allow
//! what one would.
//!
//! The counts are no part of any other transaction. They may be lost in a crash of the database, and cost no wait for
//! the disk.

use super::Store;

/// Seconds.
pub(crate) const WINDOW: i64 = 60;

/// What requests are counted by. The caller is the organization, or the caller that was refused. Method and route are those
/// of our table, not as sent: another spelling starts no new count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) caller: String,
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
}

/// The requests of a window, the one that is counted included.
#[derive(Debug)]
pub(crate) struct Counted {
    /// In seconds, since whenever.
    pub(crate) now: i64,
    /// Seconds and how many requests came in them, the oldest first.
    pub(crate) seconds: Vec<(i64, i64)>,
}

impl Store {
    /// Counts a request; `None` if no other platform shares the database.
    pub(crate) async fn count_request(&self, key: &Key) -> Result<Option<Counted>, sqlx::Error> {
        let Some(counters) = &self.counters else {
            return Ok(None);
        };
        let mut conn = counters.acquire().await?;
        // The database's clock: those of the platforms may differ.
        let (now, first): (i64, bool) = sqlx::query_as(
            "INSERT INTO request_count (caller, method, route, second, requests)
             VALUES ($1, $2, $3, floor(extract(epoch FROM clock_timestamp()))::bigint, 1)
             ON CONFLICT (caller, method, route, second) DO UPDATE SET requests = request_count.requests + 1
             RETURNING second, requests = 1",
        )
        .bind(&key.caller)
        .bind(key.method)
        .bind(key.route)
        .fetch_one(&mut *conn)
        .await?;
        let oldest = now - WINDOW;
        if first {
            // Concurrent deletions skip locked rows: they would deadlock otherwise.
            sqlx::query(
                "DELETE FROM request_count WHERE ctid = ANY (ARRAY (SELECT ctid FROM request_count WHERE second <= $1
                 FOR UPDATE SKIP LOCKED))",
            )
            .bind(oldest)
            .execute(&mut *conn)
            .await?;
        }
        let seconds: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT second, requests FROM request_count
             WHERE caller = $1 AND method = $2 AND route = $3 AND second > $4 AND second <= $5 ORDER BY second",
        )
        .bind(&key.caller)
        .bind(key.method)
        .bind(key.route)
        .bind(oldest)
        .bind(now)
        .fetch_all(&mut *conn)
        .await?;
        Ok(Some(Counted { now, seconds }))
    }
}
