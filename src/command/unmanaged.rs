//! `unmanaged`: the platform's programmatic users that no object of this cluster stands behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use super::cluster::{Cluster, ClusterArgs};
use super::objects;
use super::outcome::{Outcome, Report, say};
use super::output::{OutputArgs, Table, ago, clean, count};
use super::platform::{PlatformArgs, Reached, connect};
use super::progress::Progress;
use super::view::UserView;
use crate::api::{MANAGED_BY_LABEL, MANAGER, Organization, RETAINED_LABEL, USER_ID_ANNOTATION};
use crate::plan::Marker;
use crate::platform::{UserDetails, UserSummary, UserType, parse_time};

/// Flags of `unmanaged`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For how many users to read age and last use, each with a request of its own; the first ones by name
    #[arg(long, value_name = "N", default_value_t = 200)]
    details: usize,
    /// The platform.
    #[command(flatten)]
    platform: PlatformArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// Why no object manages a user. The most urgent comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Origin {
    /// Made by this installation, and its object is gone.
    Orphaned,
    /// Made for an object that is there and does not know of it.
    UnknownToItsObject,
    /// In a Secret that was kept when its object was deleted.
    Retained,
    /// Made by an operator of another cluster, or by one whose objects cannot be distinguished from those.
    OtherInstallation,
    /// Made without an operator: it has no marker.
    Unmarked,
}

impl Origin {
    fn shown(self) -> &'static str {
        match self {
            Self::Orphaned => "orphaned: its object is gone",
            Self::UnknownToItsObject => "unknown to its object",
            Self::Retained => "retained when its object was deleted",
            Self::OtherInstallation => "of another installation",
            Self::Unmarked => "not made by an operator",
        }
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    user_id: String,
    name: String,
    origin: Origin,
    /// The object whose user it is, or the Secret that holds its token, as `NAMESPACE/NAME`.
    object: Option<String>,
    groups: Vec<String>,
    created_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    tokens: Option<usize>,
}

/// The whole result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inventory {
    organization: String,
    /// All programmatic users of the organization.
    programmatic: usize,
    managed: usize,
    /// Unmanaged users by origin.
    counts: BTreeMap<Origin, usize>,
    users: Vec<Found>,
}

/// What the cluster knows of the platform's users.
#[derive(Debug, Default)]
struct Known {
    /// Objects by the digest of their UIDs.
    objects: BTreeMap<String, UserView>,
    /// Secrets without an object, by the user whose token they hold.
    retained: BTreeMap<String, String>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    let organization = objects::organization(&cluster, args.platform.organization.as_deref()).await?;
    let reached = connect(&cluster, &args.platform, &organization).await?;
    // The list first: what is made in between is in the later list of objects.
    let listed = reached.client.list_users().await;
    let listed = listed.map_err(|e| reached.failed("list the users of the platform", &e))?;
    let known = known(&cluster).await?;
    let mut programmatic: Vec<&UserSummary> = listed
        .iter()
        .filter(|u| u.user_type == UserType::Programmatic)
        .collect();
    let mut users = sort_out(&programmatic, &known);
    // What the operator deleted after the list was made is in no object any more, and is no fault.
    if users.iter().any(|u| u.origin <= Origin::UnknownToItsObject) {
        let again = reached.client.list_users().await;
        let again = again.map_err(|e| reached.failed("list the users of the platform again", &e))?;
        let there: BTreeSet<&str> = again.iter().map(|u| u.user_id.as_str()).collect();
        programmatic.retain(|u| there.contains(u.user_id.as_str()));
        users.retain(|u| there.contains(u.user_id.as_str()));
    }
    details(&reached, &mut users, args.details).await;
    let mut counts = BTreeMap::new();
    for user in &users {
        *counts.entry(user.origin).or_default() += 1;
    }
    let inventory = Inventory {
        organization: organization.name_any(),
        programmatic: programmatic.len(),
        managed: programmatic.len() - users.len(),
        counts,
        users,
    };
    let now = Timestamp::now();
    Ok(Report::new(
        args.output.render(&inventory, |i| table(i, &organization, now)),
    ))
}

/// All namespaces: a user whose object was not seen would be taken for an orphan.
async fn known(cluster: &Cluster) -> Result<Known, super::outcome::Failure> {
    let users = objects::users(cluster, None)
        .await
        .map_err(|e| cluster.failed("list the users of all namespaces", &e))?;
    let labels = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER},{RETAINED_LABEL}"));
    let secrets: Api<PartialObjectMeta<Secret>> = Api::all(cluster.client.clone());
    let retained = match objects::list(&secrets, labels).await {
        Ok(secrets) => secrets
            .iter()
            .filter_map(|s| {
                let path = format!("{}/{}", s.namespace().unwrap_or_default(), s.name_any());
                Some((s.annotations().get(USER_ID_ANNOTATION)?.clone(), path))
            })
            .collect(),
        Err(error) => {
            say(&format!(
                "note: retained users look like orphans: {}",
                cluster.explain(&error)
            ));
            BTreeMap::new()
        }
    };
    Ok(Known {
        objects: users.into_iter().map(|u| (u.digest(), u)).collect(),
        retained,
    })
}

/// Those that no object manages, the most urgent first.
fn sort_out(listed: &[&UserSummary], known: &Known) -> Vec<Found> {
    let parsed: Vec<Option<Marker>> = listed.iter().map(|u| Marker::parse(&u.username)).collect();
    // Whatever installation made a user of one of our objects, or one that we retained, is this one.
    let ours: BTreeSet<&str> = parsed
        .iter()
        .zip(listed)
        .filter_map(|(marker, user)| {
            let marker = marker.as_ref()?;
            let here = marker.find(&known.objects).is_some() || known.retained.contains_key(&user.user_id);
            here.then_some(marker.instance.as_str())
        })
        .collect();
    let origin = |user: &UserSummary, marker: Option<&Marker>| {
        if let Some(path) = known.retained.get(&user.user_id) {
            return Some((Origin::Retained, Some(path.clone())));
        }
        let Some(marker) = marker else {
            return Some((Origin::Unmarked, None));
        };
        match marker.find(&known.objects) {
            Some(object) if object.nonces.contains(&marker.nonce) => None,
            Some(object) => Some((Origin::UnknownToItsObject, Some(object.path()))),
            None if ours.contains(marker.instance.as_str()) => Some((Origin::Orphaned, None)),
            None => Some((Origin::OtherInstallation, None)),
        }
    };
    let mut found: Vec<Found> = listed
        .iter()
        .zip(&parsed)
        .filter_map(|(user, marker)| {
            let (origin, object) = origin(user, marker.as_ref())?;
            Some(Found {
                user_id: user.user_id.clone(),
                name: user.username.clone(),
                origin,
                object,
                groups: user.group_names.clone(),
                created_at: None,
                last_used_at: None,
                tokens: None,
            })
        })
        .collect();
    found.sort_by(|a, b| (a.origin, &a.name, &a.user_id).cmp(&(b.origin, &b.name, &b.user_id)));
    found
}

/// Asks for age and last use.
async fn details(reached: &Reached, users: &mut [Found], most: usize) {
    if users.len() > most {
        let left = count(users.len() - most, "user is", "users are");
        say(&format!(
            "note: {left} shown without age and last use; --details reads more of them"
        ));
    }
    let progress = Progress::bar(users.len().min(most), "reading age and last use");
    for user in users.iter_mut().take(most) {
        match reached.client.user(&user.user_id).await {
            Ok(Some(details)) => user.learn(&details),
            // It went in the meantime.
            Ok(None) => {}
            Err(error) => {
                say(&format!("note: no more ages: {}", reached.explain(&error)));
                return;
            }
        }
        progress.step();
    }
}

impl Found {
    fn learn(&mut self, details: &UserDetails) {
        let tokens = &details.tokens;
        self.tokens = Some(tokens.len());
        self.created_at = tokens.iter().filter_map(|t| parse_time(&t.created_at)).min();
        let used = |t: &crate::platform::TokenInfo| t.last_used_at.as_deref().and_then(parse_time);
        self.last_used_at = tokens.iter().filter_map(used).max();
    }
}

fn table(inventory: &Inventory, organization: &Organization, now: Timestamp) -> String {
    let mut table = Table::new(["USER-ID", "NAME", "TOKEN-AGE", "LAST-USED", "WHOSE", "OBJECT"]);
    let age = |at: Option<Timestamp>| at.map(|t| ago(t, now)).unwrap_or_default();
    for user in &inventory.users {
        table.row([
            user.user_id.clone(),
            user.name.clone(),
            age(user.created_at),
            age(user.last_used_at),
            user.origin.shown().to_owned(),
            user.object.clone().unwrap_or_default(),
        ]);
    }
    let mut text = format!(
        "{}\n{} of {} are managed by no object\n",
        table.finish(),
        inventory.users.len(),
        count(inventory.programmatic, "programmatic user", "programmatic users"),
    );
    if let Some(counted) = organization.status.as_ref().and_then(|s| s.users) {
        let _ = writeln!(
            text,
            "the operator's last count of Organization {}: {} managed, {} unmanaged, {} orphaned, {} retiring",
            inventory.organization, counted.managed, counted.unmanaged, counted.orphaned, counted.retiring
        );
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::DynamicObject;
    use serde_json::json;

    use super::{Known, Origin, sort_out};
    use crate::command::view::UserView;
    use crate::plan::Marker;
    use crate::platform::UserSummary;

    fn user(id: &str, name: &str) -> UserSummary {
        serde_json::from_value(json!({"userId": id, "username": name, "type": "programmatic"})).unwrap()
    }

    #[test]
    fn every_user_is_managed_or_has_an_origin() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments", "uid": "uid-1"},
            "status": {"journal": {"current": {"nonce": "aaaaaaaaaaaaaaaa"}}},
        }))
        .unwrap();
        let object = UserView::new(&object);
        let named =
            |instance: &str, uid: &str, digit: &str| Marker::new(instance, uid, &digit.repeat(16)).name("ci");
        let short = |uid: &str, digit: &str| {
            let marker = Marker::new("abcdef", uid, &digit.repeat(16));
            marker.short().name("ci")
        };
        let users = [
            user("pu-1", &named("abcdef", "uid-1", "a")),
            user("pu-2", &named("abcdef", "uid-1", "b")),
            user("pu-3", &named("abcdef", "uid-gone", "c")),
            user("pu-4", &named("ghijkl", "uid-gone", "d")),
            user("pu-5", "by-hand"),
            user("pu-6", &named("abcdef", "uid-kept", "e")),
            // What an earlier version made.
            user("pu-7", &short("uid-1", "a")),
            user("pu-8", &short("uid-gone", "f")),
        ];
        let known = Known {
            objects: BTreeMap::from([(object.digest(), object)]),
            retained: BTreeMap::from([("pu-6".to_owned(), "payments/kept".to_owned())]),
        };
        let found = sort_out(&users.iter().collect::<Vec<_>>(), &known);
        let shown: Vec<_> = found
            .iter()
            .map(|f| (f.user_id.as_str(), f.origin, f.object.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("pu-8", Origin::Orphaned, None),
                ("pu-3", Origin::Orphaned, None),
                ("pu-2", Origin::UnknownToItsObject, Some("payments/ci")),
                ("pu-6", Origin::Retained, Some("payments/kept")),
                ("pu-4", Origin::OtherInstallation, None),
                ("pu-5", Origin::Unmarked, None),
            ]
        );
    }
}
