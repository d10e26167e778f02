//! Bodies of replies: each is read through the cap of its route, and one large body at a time in the whole process, so that
//! the replies of several platforms do not add up.

use std::ops::Deref;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::Error;
use super::wire::Route;

/// A larger reply waits until no other large one is read. Its announced size is believed when so much has come.
const LARGE: usize = 1024 * 1024;
/// How much is read of the text of a refusal.
const REFUSAL: usize = 64 * 1024;
/// How long a large reply waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a large reply may take once it has its turn, whatever the deadline of its call is: others wait for it.
const HELD: Duration = Duration::from_secs(10);

/// The right to read a large reply.
static TURN: Semaphore = Semaphore::const_new(1);

/// A whole body. A large one keeps its turn until it is decoded and dropped.
pub(super) struct Body {
    bytes: Zeroizing<Vec<u8>>,
    _turn: Option<SemaphorePermit<'static>>,
}

impl Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the body of a reply to `route` within `patience`. Of a refusal it reads the beginning only.
pub(super) async fn read(
    route: &Route,
    response: reqwest::Response,
    patience: Duration,
) -> Result<Body, Error> {
    read_holding(route, response, patience, HELD).await
}

/// The same; a large body is given up when it has had its turn for `held`.
async fn read_holding(
    route: &Route,
    mut response: reqwest::Response,
    patience: Duration,
    held: Duration,
) -> Result<Body, Error> {
    let refusal = response.status().as_u16() != 200;
    let cap = if refusal { REFUSAL } else { route.cap() };
    let announced = usize::try_from(response.content_length().unwrap_or_default());
    let room = announced.unwrap_or_default().min(cap);
    let mut bytes = Zeroizing::new(Vec::new());
    let mut turn = None;
    let mut left = patience;
    loop {
        let asked = Instant::now();
        let chunk = timeout(left, response.chunk()).await;
        let chunk = chunk.map_err(|_| Error::late(&route.name(), "no answer in time"))?;
        // The wait for the turn does not count: another platform made it.
        left = left.saturating_sub(asked.elapsed());
        let Some(chunk) = chunk.map_err(|e| Error::transport(&route.name(), &e))? else {
            break;
        };
        if chunk.len() > cap.saturating_sub(bytes.len()) {
            if refusal {
                break;
            }
            return Err(too_large(route, cap));
        }
        let come = bytes.len();
        if come > LARGE {
            if turn.is_none() {
                turn = Some(next_turn(route).await?);
                left = left.min(held);
            }
            // A long list that grows bit by bit would take twice its room.
            if bytes.capacity() < room {
                bytes.reserve_exact(room.saturating_sub(come));
            }
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body { bytes, _turn: turn })
}

async fn next_turn(route: &Route) -> Result<SemaphorePermit<'static>, Error> {
    let turn = timeout(PATIENCE, TURN.acquire()).await.ok();
    turn.and_then(Result::ok).ok_or_else(|| {
        let message = "other large replies took too long to be read; this one is asked for again";
        Error::late(&route.name(), message)
    })
}

fn too_large(route: &Route, cap: usize) -> Error {
    let message = format!(
        "the reply has more than {} KiB, which is all that the operator reads of this route: see what answers there",
        cap / 1024
    );
    Error::undecodable(&route.name(), &message)
}

#[cfg(test)]
mod tests;
