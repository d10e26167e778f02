//! Polling towards a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that should take a moment. Two cores shared with other tests are slow.
pub const SOON: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(50);

/// Polls until `probe` is `Ok`. Its error is what was seen instead, and part of the message when time is up.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= deadline => {
                return Err(format!(
                    "waited {} s for {what}; last seen: {seen}",
                    deadline.as_secs()
                ));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Polls for the whole of `span` and fails at the first `Err`: for what must stay as it is.
pub async fn always<T>(
    what: &str,
    span: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        let value = probe()
            .await
            .map_err(|seen| format!("{what} did not last: {seen}"))?;
        if start.elapsed() >= span {
            return Ok(value);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
