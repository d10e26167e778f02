//! Group commit: batches that arrive while a commit is under way share the next one, and its wait for the disk.

use sqlx::AnyPool;
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::{mpsc, oneshot};

use super::batch::{Batch, TOGETHER};
use super::{BeginWrite, Store};

/// Capacity of the queue; further callers wait to send.
const LONGEST: usize = 1000;

/// A batch, and the request that waits for its commit.
struct Waiting {
    batch: Batch,
    reply: oneshot::Sender<Result<(), sqlx::Error>>,
    /// It is committed though its request may have ended.
    lasting: bool,
}

impl Waiting {
    /// Whether to commit it: a user created long after its request has ended would be known to no client.
    fn is_wanted(&self) -> bool {
        self.lasting || !self.reply.is_closed()
    }
}

/// The sending half of the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<Waiting>);

impl Queue {
    /// Starts the task that commits; it ends with the last sender.
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
    /// Executes a batch as a transaction of its own. Its statements rest on what was read before, without the lock; where that
    /// has changed, the tables refuse them: see [`is_overtaken`]. A batch whose request has ended is dropped.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), sqlx::Error> {
        self.hand_in(batch, false).await
    }

    /// The same for what has happened: it is committed though its request may have ended.
    pub(crate) async fn record(&self, batch: Batch) -> Result<(), sqlx::Error> {
        self.hand_in(batch, true).await
    }

    async fn hand_in(&self, batch: Batch, lasting: bool) -> Result<(), sqlx::Error> {
        let (reply, result) = oneshot::channel();
        let gone = || sqlx::Error::PoolClosed;
        let waiting = Waiting {
            batch,
            reply,
            lasting,
        };
        self.queue.0.send(waiting).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

/// Whether a batch failed because another change came first.
pub(crate) fn is_overtaken(error: &sqlx::Error) -> bool {
    let kind = error.as_database_error().map(DatabaseError::kind);
    matches!(
        kind,
        Some(ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation)
    )
}

/// The waiting batches, as far as they fit into one text.
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
    // A request may end at any time: its reply may be lost.
    together.retain(Waiting::is_wanted);
    if together.len() > 1 {
        let all = Batch::joined(together.iter().map(|w| &w.batch));
        match all.commit(writer, begin).await {
            Ok(()) => {
                for waiting in together {
                    let _ = waiting.reply.send(Ok(()));
                }
                return;
            }
            // One batch fails them all: commit each by itself.
            Err(error) if is_overtaken(&error) => {}
            // It may or may not have been committed.
            Err(error) => {
                let words = format!("a commit of {} failed: {error}", together.len());
                for waiting in together {
                    let _ = waiting.reply.send(Err(sqlx::Error::Protocol(words.clone())));
                }
                return;
            }
        }
    }
    for waiting in together {
        if waiting.is_wanted() {
            let _ = waiting.reply.send(waiting.batch.commit(writer, begin).await);
        }
    }
}

#[cfg(test)]
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
                batch.statement("INSERT INTO policy_grant (policy_id, user_id) VALUES ('none', 'none')");
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
    /// A batch whose request has ended is dropped; what has happened is committed.
    #[tokio::test]
    async fn a_batch_without_its_request_is_dropped() {
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
        // No other transaction writes while this is held.
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

    /// What was read may be deleted before the commit: then the tables refuse.
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
