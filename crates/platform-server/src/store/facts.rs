//! Facts that conditions of policies compare.

use super::{Connection, elastigroups, users};
use crate::authz::Facts;

/// What conditions are about: the resource, if it is one that can be looked up, and the user.
pub(crate) async fn read(
    conn: &mut Connection,
    user: &str,
    account: Option<&str>,
    resource: &str,
) -> Result<Facts, sqlx::Error> {
    let group = match (account, resource.split_once(':')) {
        (Some(account), Some(("elastigroup", id))) => elastigroups::find(&mut *conn, account, id).await?,
        _ => None,
    };
    Ok(Facts {
        attributes: group.map(|g| g.attributes()).unwrap_or_default(),
        email: users::email(conn, user).await?,
    })
}
