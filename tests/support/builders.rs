//! Objects as sentences: `world.user("ci").editor(PAYMENTS).apply().await`.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use programmatic_users::api::{
    Access, AccountEntry, Allow, CREDENTIAL_ENDPOINT_ANNOTATION, Credentials, Drift, Duration, Endpoint,
    GroupEntry, Limits, NamespaceSelector, Organization, OrganizationSpec, OrphanPolicy, PolicyEntry,
    ProgrammaticUser, ProgrammaticUserClass, ProgrammaticUserClassSpec, ProgrammaticUserSpec, Role, Scope,
};

use super::world::{CREDENTIAL, World};

/// A `ProgrammaticUser` to be.
#[must_use]
pub struct UserBuilder<'w> {
    world: &'w World,
    object: ProgrammaticUser,
}

fn account(id: &str) -> AccountEntry {
    AccountEntry {
        id: id.to_owned(),
        role: None,
    }
}

fn access(role: Role, accounts: &[&str]) -> Access {
    Access {
        role,
        accounts: accounts.iter().map(|id| account(id)).collect(),
        policies: vec![],
        groups: vec![],
    }
}

impl<'w> UserBuilder<'w> {
    pub(super) fn new(world: &'w World, name: &str) -> Self {
        let spec = ProgrammaticUserSpec {
            class_name: world.class_name().to_owned(),
            scope: Scope::Account,
            display_name: None,
            description: None,
            access: None,
            secret: programmatic_users::api::SecretSpec::default(),
            rotation: None,
            consumers: None,
            deletion_policy: programmatic_users::api::DeletionPolicy::default(),
            expire_at: None,
            suspend: false,
        };
        let mut object = ProgrammaticUser::new(name, spec);
        object.metadata.namespace = Some(world.namespace().to_owned());
        Self { world, object }
    }

    /// Reads in one account.
    pub fn viewer(self, account: &str) -> Self {
        self.access(Scope::Account, access(Role::Viewer, &[account]))
    }

    /// Reads and changes in one account.
    pub fn editor(self, account: &str) -> Self {
        self.access(Scope::Account, access(Role::Editor, &[account]))
    }

    /// Reads in several accounts.
    pub fn viewer_in(self, accounts: &[&str]) -> Self {
        self.access(Scope::Organization, access(Role::Viewer, accounts))
    }

    /// Reads and changes in several accounts.
    pub fn editor_in(self, accounts: &[&str]) -> Self {
        self.access(Scope::Organization, access(Role::Editor, accounts))
    }

    /// Policies say what is allowed in one account; add them with [`Self::policy`].
    pub fn policy_based(self, account: &str) -> Self {
        self.access(Scope::Account, access(Role::PolicyBased, &[account]))
    }

    /// The same for several accounts.
    pub fn policy_based_in(self, accounts: &[&str]) -> Self {
        self.access(Scope::Organization, access(Role::PolicyBased, accounts))
    }

    fn access(mut self, scope: Scope, access: Access) -> Self {
        self.object.spec.scope = scope;
        self.object.spec.access = Some(access);
        self
    }

    fn access_mut(&mut self) -> &mut Access {
        self.object
            .spec
            .access
            .as_mut()
            .expect("say viewer, editor or policy_based first")
    }

    /// One more policy, by name.
    pub fn policy(mut self, name: &str) -> Self {
        let entry = PolicyEntry {
            name: Some(name.to_owned()),
            id: None,
            accounts: vec![],
        };
        self.access_mut().policies.push(entry);
        self
    }

    /// One more policy, by id.
    pub fn policy_id(mut self, id: &str) -> Self {
        let entry = PolicyEntry {
            name: None,
            id: Some(id.to_owned()),
            accounts: vec![],
        };
        self.access_mut().policies.push(entry);
        self
    }

    /// One more group, by name.
    pub fn group(mut self, name: &str) -> Self {
        self.access_mut().groups.push(GroupEntry {
            name: Some(name.to_owned()),
            id: None,
        });
        self
    }

    /// Another class than the world's own.
    pub fn class(mut self, name: &str) -> Self {
        name.clone_into(&mut self.object.spec.class_name);
        self
    }

    /// In another namespace than the world's first.
    pub fn namespace(mut self, name: &str) -> Self {
        self.object.metadata.namespace = Some(name.to_owned());
        self
    }

    pub fn display_name(mut self, name: &str) -> Self {
        self.object.spec.display_name = Some(name.to_owned());
        self
    }

    pub fn description(mut self, text: &str) -> Self {
        self.object.spec.description = Some(text.to_owned());
        self
    }

    /// Name of the Secret.
    pub fn secret(mut self, name: &str) -> Self {
        self.object.spec.secret.name = Some(name.to_owned());
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.object
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Whatever else is in a spec.
    pub fn with(mut self, change: impl FnOnce(&mut ProgrammaticUserSpec)) -> Self {
        change(&mut self.object.spec);
        self
    }

    /// The object, applied nowhere.
    pub fn object(self) -> ProgrammaticUser {
        self.object
    }

    /// Applies it; the test ends if the API server refuses.
    pub async fn apply(self) -> ProgrammaticUser {
        self.try_apply()
            .await
            .unwrap_or_else(|e| panic!("the API server refused a user: {e}"))
    }

    /// Applies it, or says what the API server said.
    pub async fn try_apply(self) -> Result<ProgrammaticUser, String> {
        self.world.apply(&self.object).await
    }
}

/// A `ProgrammaticUserClass` to be. It begins as: anything, for the namespaces of the world.
#[must_use]
pub struct ClassBuilder<'w> {
    world: &'w World,
    object: ProgrammaticUserClass,
}

/// Anything, in this organization, for these namespaces.
#[must_use]
pub fn permissive_class(name: &str, organization: &str, namespaces: &[String]) -> ProgrammaticUserClass {
    let any = || vec!["*".to_owned()];
    ProgrammaticUserClass::new(
        name,
        ProgrammaticUserClassSpec {
            organization_name: organization.to_owned(),
            scopes: vec![Scope::Account, Scope::Organization],
            allow: Allow {
                roles: vec![Role::Viewer, Role::Editor, Role::PolicyBased],
                accounts: any(),
                policies: any(),
                groups: any(),
            },
            namespaces: NamespaceSelector {
                match_names: namespaces.to_vec(),
                ..NamespaceSelector::default()
            },
            max_users_per_namespace: None,
            on_revoked: programmatic_users::api::OnRevoked::default(),
            rotation: None,
            defaults: None,
        },
    )
}

impl<'w> ClassBuilder<'w> {
    pub(super) fn new(world: &'w World, name: &str) -> Self {
        let object = permissive_class(&world.unique(name), world.organization_name(), world.namespaces());
        Self { world, object }
    }

    pub fn scopes(mut self, scopes: &[Scope]) -> Self {
        self.object.spec.scopes = scopes.to_vec();
        self
    }

    pub fn roles(mut self, roles: &[Role]) -> Self {
        self.object.spec.allow.roles = roles.to_vec();
        self
    }

    pub fn accounts(mut self, ids: &[&str]) -> Self {
        self.object.spec.allow.accounts = ids.iter().map(|&s| s.to_owned()).collect();
        self
    }

    pub fn policies(mut self, policies: &[&str]) -> Self {
        self.object.spec.allow.policies = policies.iter().map(|&s| s.to_owned()).collect();
        self
    }

    pub fn for_namespaces(mut self, names: &[&str]) -> Self {
        self.object.spec.namespaces.match_names = names.iter().map(|&s| s.to_owned()).collect();
        self
    }

    pub fn max_users_per_namespace(mut self, max: i32) -> Self {
        self.object.spec.max_users_per_namespace = Some(max);
        self
    }

    /// Whatever else is in a spec.
    pub fn with(mut self, change: impl FnOnce(&mut ProgrammaticUserClassSpec)) -> Self {
        change(&mut self.object.spec);
        self
    }

    /// Applies it; its name in the cluster, which carries the test's suffix.
    pub async fn apply(self) -> String {
        let applied = self.world.apply(&self.object).await;
        let applied = applied.unwrap_or_else(|e| panic!("the API server refused a class: {e}"));
        applied.metadata.name.unwrap_or_default()
    }
}

/// An object's metadata with nothing but a name.
#[must_use]
pub fn named(name: &str, namespace: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

/// The Secret with an organization's admin token, which says that it may be sent to this URL.
#[must_use]
pub fn admin_secret(name: &str, namespace: &str, url: &str, data: &[(&str, &str)]) -> Secret {
    let mut metadata = named(name, namespace);
    let key = CREDENTIAL_ENDPOINT_ANNOTATION.to_owned();
    metadata.annotations = Some([(key, url.to_owned())].into());
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Secret {
        metadata,
        string_data: Some(data.collect()),
        ..Secret::default()
    }
}

/// An organization at this URL, with the credential of the usual name.
#[must_use]
pub fn organization(name: &str, url: &str, drift: &str) -> Organization {
    Organization::new(
        name,
        OrganizationSpec {
            endpoint: Endpoint {
                url: url.to_owned(),
                ca_bundle: None,
                timeout: None,
                insecure: true,
            },
            credentials: Credentials {
                secret_name: CREDENTIAL.0.to_owned(),
                key: CREDENTIAL.1.to_owned(),
                previous_key: None,
            },
            // As much as the platform of a test takes: what is measured is the operator, not a limit.
            limits: Limits {
                requests_per_minute: Some(60_000),
                creates_per_hour: Some(100_000),
                ..Limits::default()
            },
            drift: Drift {
                interval: Duration::parse(drift).expect("a duration"),
            },
            deletion_protection: false,
            orphan_policy: OrphanPolicy::Report,
        },
    )
}
