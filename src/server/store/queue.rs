//! Commits that share a wait for the disk: what is asked for while one commit is under way goes into the next one.

use sqlx::AnyPool;
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::{mpsc, oneshot};

use super::Store;
use super::batch::{Batch, TOGETHER};

/// A batch, and whoever waits for it to be on the disk.
struct Waiting {
    batch: Batch,
    tell: oneshot::Sender<Result<(), sqlx::Error>>,
}

/// Where batches are handed in.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::UnboundedSender<Waiting>);

impl Queue {
    /// Starts the task that commits; it ends when nobody can hand in any more.
    pub(super) fn start(writer: AnyPool, begin: &'static str) -> Self {
        let (queue, mut waiting) = mpsc::unbounded_channel();
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
    /// lock; where that does not hold any more, the tables refuse: see [`is_overtaken`]. Once it is asked for it is done,
    /// also if whoever asked goes away.
    pub(in crate::server) async fn commit(&self, batch: Batch) -> Result<(), sqlx::Error> {
        let (tell, told) = oneshot::channel();
        let gone = || sqlx::Error::PoolClosed;
        self.queue.0.send(Waiting { batch, tell }).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// Whether a batch failed since another change came first.
pub(in crate::server) fn is_overtaken(error: &sqlx::Error) -> bool {
    let kind = error.as_database_error().map(DatabaseError::kind);
    matches!(
        kind,
        Some(ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation)
    )
}

/// What waits already, as far as it fits into one text.
fn gather(first: Waiting, waiting: &mut mpsc::UnboundedReceiver<Waiting>) -> Vec<Waiting> {
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

async fn commit(together: Vec<Waiting>, writer: &AnyPool, begin: &'static str) {
    // Who waited may be gone, and nobody else has to know: what they are told may be lost.
    if together.len() > 1 {
        let all = Batch::joined(together.iter().map(|w| &w.batch));
        if all.commit(writer, begin).await.is_ok() {
            for waiting in together {
                let _ = waiting.tell.send(Ok(()));
            }
            return;
        }
        // One of them spoils it for all: each by itself.
    }
    for Waiting { batch, tell } in together {
        let _ = tell.send(batch.commit(writer, begin).await);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::is_overtaken;
    use crate::platform::UserType;
    use crate::server::Database;
    use crate::server::store::batch::Batch;
    use crate::server::store::{Store, users};

    /// All of one moment, so that they share a commit.
    #[tokio::test]
    async fn what_is_refused_spoils_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::Directory(directory.path().to_owned());
        let store = Store::open(&database).await.unwrap();
        let mut conn = store.look().await.unwrap();
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
        let listed = users::list(&mut store.look().await.unwrap()).await.unwrap();
        let names: Vec<_> = listed.iter().map(|u| u.username.clone()).collect();
        let wanted: Vec<_> = (0..20)
            .filter(|n| n % 5 != 0)
            .map(|n| format!("user-{n}"))
            .collect();
        assert_eq!(names, wanted);
    }
}
