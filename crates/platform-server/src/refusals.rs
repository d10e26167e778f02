//! Refusals without a valid credential. A client can cause any number of them, so that their rows in the audit log have one
//! budget, for all routes, all peers and any rate limit.
//!
//! The first refusal of a kind in a window has a row of its own. Further ones are counted, and one row at the end of the window
//! has their number. Kinds beyond the budget share one row a window.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::App;
use super::auth::context::{ANONYMOUS, RequestContext, write};
use super::metrics::known_method;
use super::store::audit::Event;

/// Rows that may be written at once, after a quiet time.
const ROWS: u32 = 60;
/// How long it takes until one more may be written.
const REFILL: Duration = Duration::from_secs(30);

/// What two refusals share that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    network: Option<String>,
    actor_id: Option<String>,
    actor_name: String,
    actor_type: String,
    token_last_digits: Option<String>,
    source: String,
    action: String,
    resource_type: String,
    result: String,
    status: u16,
    method: String,
    /// The route's pattern, not the path: clients can invent paths.
    route: &'static str,
}

impl Kind {
    fn of(event: &Event<'_>, network: Option<String>, route: &'static str) -> Self {
        Self {
            network,
            actor_id: event.actor_id.map(str::to_owned),
            actor_name: event.actor_name.to_owned(),
            actor_type: event.actor_type.to_owned(),
            token_last_digits: event.token_last_digits.map(str::to_owned),
            source: event.source.to_owned(),
            action: event.action.to_owned(),
            resource_type: event.resource_type.to_owned(),
            result: event.result.to_owned(),
            status: event.status,
            method: known_method(event.method).to_owned(),
            route,
        }
    }

    /// Of all that the budget has no rows for.
    fn other() -> Self {
        Self {
            network: None,
            actor_id: None,
            actor_name: ANONYMOUS.to_owned(),
            actor_type: ANONYMOUS.to_owned(),
            token_last_digits: None,
            source: "API".to_owned(),
            action: "refuse".to_owned(),
            resource_type: "request".to_owned(),
            result: "refused".to_owned(),
            status: 401,
            method: "*".to_owned(),
            route: "*",
        }
    }

    fn event(&self, requests: i64) -> Event<'_> {
        Event {
            actor_id: self.actor_id.as_deref(),
            actor_name: &self.actor_name,
            actor_type: &self.actor_type,
            token_last_digits: self.token_last_digits.as_deref(),
            source: &self.source,
            action: &self.action,
            resource_type: &self.resource_type,
            result: &self.result,
            status: self.status,
            method: &self.method,
            url: self.route,
            requests,
            peer: self.network.as_deref(),
            ..Event::default()
        }
    }
}

/// Rows that may be written by now.
#[derive(Debug)]
struct Budget {
    rows: u32,
    at: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at);
        let more = u32::try_from(since.as_secs() / REFILL.as_secs()).unwrap_or(ROWS);
        if more > 0 {
            self.rows = self.rows.saturating_add(more).min(ROWS);
            self.at = now;
        }
        let paid = self.rows > 0;
        self.rows = self.rows.saturating_sub(1);
        paid
    }
}

#[derive(Debug)]
struct Counts {
    budget: Budget,
    /// Refusals after the first one, by kinds whose first one has its row: no more kinds than the budget has rows.
    further: HashMap<Kind, i64>,
    beyond: i64,
}

#[derive(Debug)]
pub(super) struct Refusals {
    window: Duration,
    counts: Mutex<Counts>,
}

impl Refusals {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            counts: Mutex::new(Counts {
                budget: Budget {
                    rows: ROWS,
                    at: Instant::now(),
                },
                further: HashMap::new(),
                beyond: 0,
            }),
        }
    }

    /// Whether a refusal has a row of its own; otherwise it is counted.
    fn is_first(&self, kind: Kind, now: Instant) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(further) = counts.further.get_mut(&kind) {
            *further += 1;
            return false;
        }
        if !counts.budget.take(now) {
            counts.beyond += 1;
            return false;
        }
        counts.further.insert(kind, 0);
        true
    }

    /// Ends a window: the kinds and the numbers that are not in the audit log yet.
    fn take(&self, now: Instant) -> Vec<(Kind, i64)> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut beyond = std::mem::take(&mut counts.beyond);
        let mut rows = Vec::new();
        for (kind, further) in std::mem::take(&mut counts.further) {
            if further == 0 {
                continue;
            }
            if counts.budget.take(now) {
                rows.push((kind, further));
            } else {
                beyond += further;
            }
        }
        if beyond > 0 {
            rows.push((Kind::other(), beyond));
        }
        rows
    }
}

/// Puts a refusal on record, by a row of its own or by a number. `route` is a pattern of ours.
pub(super) async fn record(app: &App, context: &RequestContext, event: &Event<'_>, route: &'static str) {
    let network = context.peer.map(super::peer::Peer::network);
    if app
        .refusals
        .is_first(Kind::of(event, network, route), Instant::now())
    {
        write(app, event).await;
    }
}

/// Writes the numbers that have no row yet.
pub(super) async fn flush(app: &App) {
    for (kind, requests) in app.refusals.take(Instant::now()) {
        write(app, &kind.event(requests)).await;
    }
}

/// Writes the numbers at the end of each window.
pub(super) async fn run(app: &App) {
    loop {
        tokio::time::sleep(app.refusals.window).await;
        flush(app).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Kind, REFILL, ROWS, Refusals};

    fn kind(action: usize) -> Kind {
        let mut kind = Kind::other();
        kind.action = action.to_string();
        kind
    }

    /// Whatever comes, for a day, in windows of a minute.
    #[test]
    fn a_day_of_refusals_has_a_bounded_number_of_rows() {
        let refusals = Refusals::new(Duration::from_mins(1));
        let start = Instant::now();
        let (mut rows, mut counted) = (0_u32, 0_i64);
        for minute in 0..1440_u32 {
            let now = start + Duration::from_mins(1) * minute;
            for n in 0..1000 {
                if refusals.is_first(kind(n), now) {
                    rows += 1;
                    counted += 1;
                }
            }
            for (_, requests) in refusals.take(now) {
                rows += 1;
                counted += requests;
            }
        }
        assert_eq!(counted, 1_440_000, "each is in a number");
        let refilled = u32::try_from(86_400 / REFILL.as_secs()).unwrap_or_default();
        assert!(rows <= ROWS + refilled + 1440, "{rows}");
    }

    #[test]
    fn one_kind_takes_two_rows() {
        let refusals = Refusals::new(Duration::from_mins(1));
        let now = Instant::now();
        let first = (0..5000).filter(|_| refusals.is_first(kind(1), now)).count();
        assert_eq!((first, refusals.take(now)), (1, vec![(kind(1), 4999)]));
        assert!(refusals.take(now).is_empty());
    }
}
