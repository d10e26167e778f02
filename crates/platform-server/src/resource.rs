//! What the ids in paths, bodies and queries name.

use super::reply::ApiError;
use super::store::{Connection, stored};

#[derive(Debug, Clone, Copy)]
pub(super) enum Resource {
    User,
    UserGroup,
    Policy,
    Account,
    Elastigroup,
}

impl Resource {
    fn table(self) -> &'static str {
        match self {
            Self::User => "platform_user",
            Self::UserGroup => "user_group",
            Self::Policy => "policy",
            Self::Account => "account",
            Self::Elastigroup => "elastigroup",
        }
    }

    /// Code and message of the error about one that does not exist. The spelling of the account's code is the vendor's.
    fn absent(self, id: &str) -> (&'static str, String) {
        let (code, word) = match self {
            Self::User => ("USER_DOESNT_EXIST", "User"),
            Self::UserGroup => ("USER_GROUP_DOESNT_EXIST", "User group"),
            Self::Policy => ("POLICY_DOESNT_EXIST", "Policy"),
            Self::Account => ("Account_DOESNT_EXIST", "Account"),
            Self::Elastigroup => ("GROUP_DOESNT_EXIST", "Group"),
        };
        (code, format!("{word} {id} does not exist"))
    }

    /// The path names one that does not exist.
    pub(super) fn missing(self, id: &str) -> ApiError {
        let (code, message) = self.absent(id);
        ApiError::Missing(code, message)
    }

    /// A field of the body or of the query names one that does not exist.
    pub(super) fn unknown(self, id: &str, field: &str) -> ApiError {
        let (code, message) = self.absent(id);
        ApiError::Unknown(code, message, field.to_owned())
    }

    pub(super) async fn exists(self, conn: &mut Connection, id: &str) -> Result<bool, sqlx::Error> {
        Ok(!stored(conn, self.table(), &[id]).await?.is_empty())
    }

    /// Fails unless the one of the path exists.
    pub(super) async fn require(self, conn: &mut Connection, id: &str) -> Result<(), ApiError> {
        let exists = self.exists(conn, id).await?;
        exists.then_some(()).ok_or_else(|| self.missing(id))
    }

    /// Fails unless the one of a field exists.
    pub(super) async fn require_in(
        self,
        conn: &mut Connection,
        id: &str,
        field: &str,
    ) -> Result<(), ApiError> {
        let exists = self.exists(conn, id).await?;
        exists.then_some(()).ok_or_else(|| self.unknown(id, field))
    }

    /// Fails unless all of a list in the body exist. One statement for many of them: the caller may hold the write lock.
    pub(super) async fn require_all(
        self,
        conn: &mut Connection,
        ids: &[&str],
        field: impl Fn(usize) -> String,
    ) -> Result<(), ApiError> {
        let stored = stored(conn, self.table(), ids).await?;
        match ids.iter().position(|id| !stored.contains(*id)) {
            None => Ok(()),
            Some(index) => Err(self.unknown(ids[index], &field(index))),
        }
    }
}
