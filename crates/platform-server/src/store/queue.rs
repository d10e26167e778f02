//! Commits that share a wait for the disk: what is asked for while one commit is under way goes into the next one.

use sqlx::AnyPool;
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::{mpsc, oneshot};

use super::batch::{Batch, TOGETHER};
use super::{BeginWrite, Store};

/// How many may be handed in, before whoever comes waits with it.
const LONGEST: usize = 1000;

/// A batch, and whoever waits for it to be on the disk.
struct Waiting {
    batch: Batch,
    tell: oneshot::Sender<Result<(), sqlx::Error>>,
    /// It is written also if nobody waits any more.
    lasting: bool,
}

impl Waiting {
    /// Whether somebody still wants it. A user that is made long after whoever asked has gone would be one that nobody
    /// knows of.
    fn is_wanted(&self) -> bool {
        self.lasting || !self.tell.is_closed()
    }
}

/// Where batches are handed in.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<Waiting>);

impl Queue {
    /// Starts the task that commits; it ends when nobody can hand in any more.
    pub(super) fn start(writer: AnyPool, begin: BeginWrite) -> Self {
        let (queue, mut waiting) = mpsc::channel(LONGEST);
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                let together = gather(first, &mut waiting);
                commit(together, &writer, begin).await;
            }
        });
        Self(queue)
    }
}

impl Store {
    /// Executes a batch as a transaction of its own. What its statements rest on has been looked up before, without the
    /// lock; where that does not hold any more, the tables refuse: see [`is_overtaken`]. It is not begun if whoever asked
    /// has gone by then.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), sqlx::Error> {
        self.hand_in(batch, false).await
    }

    /// The same for what has happened: it is written though nobody waits for it.
    pub(crate) async fn record(&self, batch: Batch) -> Result<(), sqlx::Error> {
        self.hand_in(batch, true).await
    }

    async fn hand_in(&self, batch: Batch, lasting: bool) -> Result<(), sqlx::Error> {
        let (tell, told) = oneshot::channel();
        let gone = || sqlx::Error::PoolClosed;
        let waiting = Waiting { batch, tell, lasting };
        self.queue.0.send(waiting).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// Whether a batch failed since another change came first.
pub(crate) fn is_overtaken(error: &sqlx::Error) -> bool {
    let kind = error.as_database_error().map(DatabaseError::kind);
    matches!(
        kind,
        Some(ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation)
    )
}

/// What waits already, as far as it fits into one text.
fn gather(first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut size = first.batch.len();
    let mut together = vec![first];
    while size < TOGETHER
        && let Ok(next) = waiting.try_recv()
    {
        size += next.batch.len();
        together.push(next);
    }
    together
}

async fn commit(mut together: Vec<Waiting>, writer: &AnyPool, begin: BeginWrite) {
    // Whoever waits may go at any time: what they are told may be lost.
    together.retain(Waiting::is_wanted);
    if together.len() > 1 {
        let all = Batch::joined(together.iter().map(|w| &w.batch));
        match all.commit(writer, begin).await {
            Ok(()) => {
                for waiting in together {
                    let _ = waiting.tell.send(Ok(()));
                }
                return;
            }
            // One of them spoils it for all: each by itself.
            Err(error) if is_overtaken(&error) => {}
            // What became of it may not even be known.
            Err(error) => {
                let words = format!("a commit of {} failed: {error}", together.len());
                for waiting in together {
                    let _ = waiting.tell.send(Err(sqlx::Error::Protocol(words.clone())));
                }
                return;
            }
        }
    }
    for waiting in together {
        if waiting.is_wanted() {
            let _ = waiting.tell.send(waiting.batch.commit(writer, begin).await);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;

    use super::is_overtaken;
    use crate::store::access::{self, Subject};
    use crate::store::batch::Batch;
    use crate::store::{Store, users};
    use platform_api::{PolicyGrant, UserType};

    /// All of one moment, so that they share a commit.
    #[tokio::test]
    async fn what_is_refused_spoils_nothing_beside_it() {
        let (store, _directory) = Store::scratch().await;
        let mut conn = store.acquire_reader().await.unwrap();
        let mut batches = Vec::new();
        for n in 0..20 {
            let mut batch = Batch::default();
            let name = format!("user-{n}");
            users::create(&mut conn, &mut batch, UserType::Programmatic, &name, None, None)
                .await
                .unwrap();
            if n % 5 == 0 {
                // After the user, which has to go with it.
                batch.statement("INSERT INTO policy_grant (policy_id, user_id) VALUES ('none', 'nobody')");
            }
            batches.push(batch);
        }
        drop(conn);
        let done = futures::future::join_all(batches.into_iter().map(|b| store.commit(b))).await;
        for (n, done) in done.iter().enumerate() {
            assert_eq!(done.is_ok(), n % 5 != 0, "{n}: {done:?}");
            assert!(done.as_ref().is_ok() || done.as_ref().is_err_and(is_overtaken));
        }
        let listed = users::list(&mut store.acquire_reader().await.unwrap())
            .await
            .unwrap();
        let names: Vec<_> = listed.iter().map(|u| u.username.clone()).collect();
        let wanted: Vec<_> = (0..20)
            .filter(|n| n % 5 != 0)
            .map(|n| format!("user-{n}"))
            .collect();
        assert_eq!(names, wanted);
    }
    /// What nobody waits for any more is not begun; what has happened is written.
    #[tokio::test]
    async fn what_nobody_wants_any_more_is_left() {
        let (store, _directory) = Store::scratch().await;
        let mut batches = Vec::new();
        for name in ["gone", "lasting", "wanted"] {
            let mut batch = Batch::default();
            let mut conn = store.acquire_reader().await.unwrap();
            users::create(&mut conn, &mut batch, UserType::Programmatic, name, None, None)
                .await
                .unwrap();
            batches.push(batch);
        }
        let wanted = batches.pop().unwrap();
        // Nobody else may write as long as this is held.
        let lock = store.write().await.unwrap();
        let held = tokio::spawn({
            let store = store.clone();
            async move { store.commit(Batch::default()).await }
        });
        tokio::task::yield_now().await;
        let lasting = store.record(batches.pop().unwrap());
        assert!(lasting.now_or_never().is_none(), "it waits, and is dropped here");
        let gone = store.commit(batches.pop().unwrap());
        assert!(gone.now_or_never().is_none(), "it waits, and is dropped here");
        lock.rollback().await.unwrap();
        held.await.unwrap().unwrap();
        store.commit(wanted).await.unwrap();
        let listed = users::list(&mut store.acquire_reader().await.unwrap())
            .await
            .unwrap();
        let names: Vec<_> = listed.iter().map(|u| u.username.as_str()).collect();
        assert_eq!(names, ["lasting", "wanted"]);
    }

    /// What was looked up may be gone when it is committed: then the tables refuse.
    #[tokio::test]
    async fn what_rests_on_something_gone_is_refused() {
        let (store, _directory) = Store::scratch().await;
        let mut tx = store.write().await.unwrap();
        let nothing = serde_json::json!({"statements": []});
        access::create_policy(&mut tx, Some("3"), "Viewer", None, "ACCOUNT", &nothing)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for (policy, account) in [("none", "*"), ("3", "act-gone")] {
            let mut batch = Batch::default();
            let mut conn = store.acquire_reader().await.unwrap();
            let id = users::create(&mut conn, &mut batch, UserType::Programmatic, "n", None, None)
                .await
                .unwrap();
            let grant = PolicyGrant {
                policy_id: policy.to_owned(),
                account_ids: vec![account.to_owned()],
            };
            access::give(&mut batch, Subject::User(&id), &[grant]);
            let error = store.commit(batch).await.unwrap_err();
            assert!(is_overtaken(&error), "{policy} {account}: {error}");
            assert!(users::list(&mut conn).await.unwrap().is_empty());
        }
    }
}
