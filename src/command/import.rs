//! `import`: the manifest for a user that exists on the platform.
//!
//! A token is shown once, so nothing can be adopted: applying the manifest makes a new user with the same rights, and the
//! manifest says how the old one goes. Names are not unique on the platform; the user is named by its id.

mod manifest;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use super::cluster::{Cluster, ClusterArgs};
use super::objects;
use super::outcome::{Failure, Outcome, Report, say};
use super::output::{OutputArgs, json};
use super::platform::{PlatformArgs, Reached, connect};
use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use crate::plan::{Marker, check_class, validate};
use crate::platform::{UserDetails, UserType};

/// Flags of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user's id on the platform, such as pu-1a2b3c4d; `unmanaged` shows them
    #[arg(value_name = "USER-ID")]
    user_id: String,
    /// Class of the new object; it names the Organization of the user
    #[arg(long, value_name = "NAME")]
    class: String,
    /// Name of the new object (default: made of the user's name)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The platform.
    #[command(flatten)]
    platform: PlatformArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result: `table` is YAML here
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    let class = class(&cluster, &args.class).await?;
    let named = &class.spec.organization_name;
    if let Some(other) = args.platform.organization.as_ref().filter(|o| *o != named) {
        return Err(Failure::Usage(format!(
            "class {} is of Organization {named}, not of {other}: leave --organization out, or choose another --class",
            args.class
        )));
    }
    let organization = objects::organization(&cluster, Some(named)).await?;
    let reached = connect(&cluster, &args.platform, &organization).await?;
    let details = details(&reached, &args.user_id).await?;
    not_managed(&cluster, &details).await?;
    let draft = manifest::draft(&details, &args.class, &cluster.namespace, args.name.as_deref())?;
    let mut notes = refusals(&cluster, &draft, &class, &organization).await;
    notes.extend(dry_run(&cluster, &draft).await);
    for note in &notes {
        say(&format!("note: {note}"));
    }
    let text = if args.output.is_json() {
        json(&manifest::object(&draft))
    } else {
        let place = manifest::Place {
            organization: named,
            url: &reached.url,
        };
        manifest::yaml(&draft, &details, &place, &notes)?
    };
    Ok(Report::new(text))
}

async fn class(cluster: &Cluster, name: &str) -> Result<ProgrammaticUserClass, Failure> {
    let found = objects::api::<ProgrammaticUserClass>(cluster, None)
        .get_opt(name)
        .await;
    let class = found
        .map_err(|e| cluster.failed(&format!("read class {name}"), &e))?
        .ok_or_else(|| Failure::Failed(format!("there is no class {name}: `kubectl get puc` lists them")))?;
    class.try_parse().map_err(|_| {
        Failure::Failed(format!(
            "class {name} cannot be read by this version: use the program of the operator's version"
        ))
    })
}

async fn details(reached: &Reached, id: &str) -> Result<UserDetails, Failure> {
    let found = reached.client.user(id).await;
    let details = found
        .map_err(|e| reached.failed(&format!("read user {id}"), &e))?
        .ok_or_else(|| {
            Failure::Failed(format!(
                "{} has no user {id}: `unmanaged` shows the ids of those that no object manages",
                reached.name
            ))
        })?;
    match details.user_type {
        UserType::Programmatic => Ok(details),
        UserType::Personal => Err(Failure::Failed(format!(
            "user {id} is a person who signs in at the console: only programmatic users have manifests"
        ))),
    }
}

/// What an object has already needs no second one.
async fn not_managed(cluster: &Cluster, details: &UserDetails) -> Result<(), Failure> {
    let Some(marker) = Marker::parse(&details.username) else {
        return Ok(());
    };
    let users = objects::users(cluster, None)
        .await
        .map_err(|e| cluster.failed("list the users of all namespaces, to see whether one has it", &e))?;
    match users.iter().find(|u| u.digest().starts_with(&marker.object)) {
        Some(user) => Err(Failure::Failed(format!(
            "user {} is of ProgrammaticUser {}: `kubectl get` shows its manifest",
            details.user_id,
            user.path()
        ))),
        None => Ok(()),
    }
}

/// What the operator would say of the manifest, as far as it can be known without the operator.
async fn refusals(
    cluster: &Cluster,
    draft: &ProgrammaticUser,
    class: &ProgrammaticUserClass,
    organization: &Organization,
) -> Vec<String> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let labels = match namespaces.get_metadata(&cluster.namespace).await {
        Ok(namespace) => namespace.labels().clone(),
        // Whether the class is open to it by its labels is then for the operator to say.
        Err(_) => class.spec.namespaces.match_labels.clone(),
    };
    let whole = check_class(draft, class, &labels, None)
        .and_then(|()| validate(draft, class, organization).map(drop))
        .err();
    whole
        .into_iter()
        .map(|r| format!("the operator would refuse it: {}: {}", r.reason, r.message))
        .collect()
}

/// What the API server, with its admission policies, would say to you.
async fn dry_run(cluster: &Cluster, draft: &ProgrammaticUser) -> Option<String> {
    let api: Api<ProgrammaticUser> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let error = api.create(&params, draft).await.err()?;
    Some(match &error {
        kube::Error::Api(status) if status.is_already_exists() => format!(
            "namespace {} has a ProgrammaticUser {} already: give another --name",
            cluster.namespace,
            draft.name_any()
        ),
        error => format!("the API server would refuse it: {}", cluster.explain(error)),
    })
}
