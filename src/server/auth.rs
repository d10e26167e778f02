//! Who is asking.

use subtle::ConstantTimeEq as _;

use super::authz::{Decision, Document, Grant, Request, decide};
use super::reply::Failure;
use super::secret::digest;
use super::store::{Db, now};

/// Built-in policy that makes its holder an organization admin.
pub(super) const ADMIN: &str = "1";
/// Built-in policy of the role "editor".
pub(super) const EDITOR: &str = "2";
/// Built-in policy of the role "viewer".
pub(super) const VIEWER: &str = "3";

/// A user who has proven to be one, and what the user may do.
pub(super) struct Principal {
    pub(super) id: String,
    pub(super) is_programmatic: bool,
    pub(super) last_digits: String,
    grants: Vec<Grant>,
}

impl Principal {
    /// For the audit log.
    pub(super) fn actor_type(&self) -> &'static str {
        if self.is_programmatic {
            "programmatic"
        } else {
            "UI"
        }
    }

    /// Whether the built-in admin policy holds everywhere for this user.
    pub(super) fn is_admin(&self) -> bool {
        self.grants.iter().any(|g| g.policy == ADMIN && g.holds_in(None))
    }

    /// Whether anything at all may be done in `account`.
    pub(super) fn sees(&self, account: &str) -> bool {
        self.grants.iter().any(|g| g.holds_in(Some(account)))
    }

    /// Refuses what no policy allows.
    pub(super) fn may(&self, action: &str, resource: &str, account: Option<&str>) -> Result<(), Failure> {
        match decide(
            &self.grants,
            Request {
                action,
                resource,
                account,
            },
        ) {
            Decision::Allowed(_) => Ok(()),
            Decision::Denied(by) => {
                let why = by.map_or_else(
                    || "no policy allows it".to_owned(),
                    |p| format!("policy {p} denies it"),
                );
                Err(Failure::forbidden(format!("{action} is not allowed: {why}")))
            }
        }
    }
}

/// The user of a token. Unknown and revoked tokens get the same answer by the same work.
pub(super) async fn by_token(db: &mut Db, token: &str) -> Result<Principal, Failure> {
    let wanted = digest(token);
    let row: Option<(i64, Vec<u8>, String, String, String)> = sqlx::query_as(
        "SELECT t.id, t.hash, t.last_digits, u.id, u.type FROM token t JOIN user u ON u.id = t.user_id WHERE t.hash = ?",
    )
    .bind(&wanted)
    .fetch_optional(&mut *db)
    .await?;
    let known = row.filter(|r| bool::from(r.1.ct_eq(&wanted)));
    let Some((_, _, last_digits, id, kind)) = known else {
        return Err(Failure::unauthorized());
    };
    let grants = grants(db, &id).await?;
    Ok(Principal {
        id,
        is_programmatic: kind == "programmatic",
        last_digits,
        grants,
    })
}

/// A person with a session of the console.
pub(super) async fn by_session(
    db: &mut Db,
    session: &str,
) -> Result<Option<(Principal, String, String)>, Failure> {
    let row: Option<(String, String, String)> = sqlx::query_as(
        "SELECT u.id, u.name, s.csrf FROM session s JOIN user u ON u.id = s.user_id WHERE s.hash = ? AND s.expires_at > ? AND u.type = 'personal'",
    )
    .bind(digest(session))
    .bind(now())
    .fetch_optional(&mut *db)
    .await?;
    let Some((id, name, csrf)) = row else {
        return Ok(None);
    };
    let grants = grants(db, &id).await?;
    Ok(Some((
        Principal {
            id,
            is_programmatic: false,
            last_digits: String::new(),
            grants,
        },
        name,
        csrf,
    )))
}

/// Direct policies and those of the user's groups.
async fn grants(db: &mut Db, user: &str) -> Result<Vec<Grant>, Failure> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT p.id, g.accounts, p.content FROM grant_entry g JOIN policy p ON p.id = g.policy_id \
         WHERE g.user_id = ? OR g.group_id IN (SELECT group_id FROM group_member WHERE user_id = ?)",
    )
    .bind(user)
    .bind(user)
    .fetch_all(db)
    .await?;
    let grant = |(policy, accounts, content): (String, String, String)| Grant {
        policy,
        accounts: serde_json::from_str(&accounts).unwrap_or_default(),
        // A document that cannot be read allows nothing.
        document: serde_json::from_str::<Document>(&content).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(grant).collect())
}
