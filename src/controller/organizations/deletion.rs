//! Holds the deletion of an Organization for as long as users need it.
//!
//! Only the object names the platform and its credential: without it the operator could neither reconcile nor delete the users
//! of its `ProgrammaticUser`s.

use kube::ResourceExt as _;
use serde_json::Value;

use crate::api::{ORGANIZATION_FINALIZER, Organization};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::classes::{count_stored, has_begun};
use crate::controller::organizations::finalizer;

/// What may become of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::controller) enum DeletionHold {
    /// It is there to stay.
    Alive,
    /// It is to go, and users need it: those of this many objects, and this many retained ones.
    Needed { objects: usize, retained: usize },
    /// It is being deleted, and this operator does not hold it.
    Released,
}

/// Adds or removes the finalizer as the object asks for it; the object as it is then.
pub(in crate::controller) async fn hold(
    context: &Context,
    organization: &Organization,
) -> Result<(DeletionHold, Option<Organization>), Error> {
    let held = organization
        .finalizers()
        .iter()
        .any(|f| f == ORGANIZATION_FINALIZER);
    let wanted = organization.spec.deletion_protection;
    if organization.metadata.deletion_timestamp.is_none() {
        let changed = match (held, wanted) {
            (false, true) => set_finalizer(context, organization, true).await?,
            (true, false) => set_finalizer(context, organization, false).await?,
            _ => None,
        };
        return Ok((DeletionHold::Alive, changed));
    }
    if !held {
        return Ok((DeletionHold::Released, None));
    }
    if wanted {
        let name = organization.name_any();
        let retained = context.retained.of_organization(&name).await?;
        let mut objects = cached(context, &name);
        if objects == 0 && retained == 0 {
            objects = stored(context, &name).await?;
        }
        if objects + retained > 0 {
            return Ok((DeletionHold::Needed { objects, retained }, None));
        }
    }
    set_finalizer(context, organization, false).await?;
    Ok((DeletionHold::Released, None))
}

/// Objects that need it, as far as the cache knows: enough to go on waiting.
fn cached(context: &Context, name: &str) -> usize {
    let all = context.caches.users.iter().flat_map(|users| users.state());
    all.filter(|user| user.lives_in(name) && user.has_begun()).count()
}

/// The same from the API server, and of objects that cannot be read, too.
async fn stored(context: &Context, name: &str) -> Result<usize, Error> {
    count_stored(context, |o| lives_in(o, name)).await
}

/// Whether the status names the organization and anything that may be there.
fn lives_in(object: &Value, name: &str) -> bool {
    object["status"]["organizationName"] == name && has_begun(object)
}

async fn set_finalizer(
    context: &Context,
    organization: &Organization,
    present: bool,
) -> Result<Option<Organization>, Error> {
    let doing = "change the finalizers of the Organization";
    finalizer::set(context, organization, ORGANIZATION_FINALIZER, present, doing).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::lives_in;

    #[test]
    fn who_may_have_a_user_there_needs_the_organization() {
        let with =
            |journal: serde_json::Value| json!({"status": {"organizationName": "acme", "journal": journal}});
        for journal in [
            json!({"pending": {"nonce": "n"}}),
            json!({"current": {}}),
            json!({"retiring": [{}]}),
            json!({"abandoned": [{"nonce": 7}]}),
        ] {
            assert!(lives_in(&with(journal.clone()), "acme"), "{journal}");
            assert!(!lives_in(&with(journal), "other"));
        }
        for journal in [json!(null), json!({}), json!({"retiring": [], "begun": ["x"]})] {
            assert!(!lives_in(&with(journal), "acme"));
        }
        assert!(!lives_in(&json!({}), "acme"));
    }
}
