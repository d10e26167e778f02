//! Write points: the requests at which a plan's fault strikes.

use crate::support::proxy::{Change, Seen};

/// A write of the protocol, or a read that a deletion depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// W1
    Finalizer,
    /// The dry run before W2: without effect, but the way to the Secret may be closed.
    DryRun,
    /// W2
    Intent,
    /// W3
    Post,
    /// W4
    Secret,
    /// W4 of a user that is complete before its token is published.
    Stage,
    /// W5
    Promote,
    /// W5 where the attempt was promoted before: the status that says that access is complete.
    Access,
    /// Before W6: what a user is about to get.
    Grant,
    /// W6
    Policies,
    /// W6
    Groups,
    /// W7: nothing can be staged any more.
    Bar,
    /// W7: nothing can be published any more.
    Fence,
    /// W8
    Abandon,
    /// W8 where the platform or the API server certainly refused: the attempt is only dropped.
    Drop,
    /// The list that the sweep looks through, before W9.
    List,
    /// The look at a user before W9.
    Guard,
    /// W9
    DeleteUser,
    /// W10
    Forget,
    /// W10 of a user whose overlap is over.
    Retired,
    /// W11
    DeleteSecret,
    /// W11 of what was staged.
    Unstage,
    /// W12
    Unfinalize,
    /// W13
    Event,
    /// W14
    Lease,
    /// W15: the mark on a workload's pod template.
    Restart,
    /// W16: the record that a user stays.
    Record,
    /// W17: the Secret loses its owner.
    Release,
}

impl Point {
    pub fn name(self) -> &'static str {
        match self {
            Self::Finalizer => "W1-finalizer",
            Self::DryRun => "W2-dry-run",
            Self::Intent => "W2-intent",
            Self::Post => "W3-post",
            Self::Secret => "W4-secret",
            Self::Stage => "W4-stage",
            Self::Promote => "W5-promote",
            Self::Access => "W5-access",
            Self::Grant => "W6-grant",
            Self::Policies => "W6-policies",
            Self::Groups => "W6-groups",
            Self::Bar => "W7-bar",
            Self::Fence => "W7-fence",
            Self::Abandon => "W8-abandon",
            Self::Drop => "W8-drop",
            Self::List => "W9-list",
            Self::Guard => "W9-guard",
            Self::DeleteUser => "W9-delete-user",
            Self::Forget => "W10-forget",
            Self::Retired => "W10-retired",
            Self::DeleteSecret => "W11-delete-secret",
            Self::Unstage => "W11-unstage",
            Self::Unfinalize => "W12-unfinalize",
            Self::Event => "W13-event",
            Self::Lease => "W14-lease",
            Self::Restart => "W15-restart",
            Self::Record => "W16-record",
            Self::Release => "W17-release",
        }
    }

    /// Whether it is a request to the platform; otherwise it is one to the API server.
    pub fn is_platform(self) -> bool {
        matches!(
            self,
            Self::Post | Self::Policies | Self::Groups | Self::List | Self::Guard | Self::DeleteUser
        )
    }

    /// Whether the request is one of these; `namespace` is that of the user.
    pub fn matches(self, seen: &Seen, namespace: &str) -> bool {
        let is = |verb: &str, resource: &str| seen.verb == verb && seen.resource == resource;
        let status = is("update", "programmaticusers/status");
        let here = seen.namespace == namespace;
        let secret = here && seen.resource == "secrets";
        match self {
            Self::Finalizer => seen.has(Change::AddFinalizer),
            Self::DryRun => secret && seen.dry_run,
            Self::Intent => status && seen.has(Change::Intent),
            Self::Post => is("POST", "/setup/user/programmatic"),
            Self::Secret => secret && seen.has(Change::Publish),
            Self::Stage => seen.has(Change::Stage),
            Self::Promote => status && seen.has(Change::Promote),
            Self::Access => status && seen.has(Change::Access) && !seen.has(Change::Promote),
            Self::Grant => status && seen.has(Change::Grant),
            Self::Policies => is("PUT", "/setup/user/{id}/policyMapping"),
            Self::Groups => is("PUT", "/setup/user/{id}/userGroupMapping"),
            Self::Bar => seen.has(Change::Bar),
            Self::Fence => secret && seen.has(Change::Fence),
            Self::Abandon => status && seen.has(Change::Abandon),
            Self::Drop => status && seen.has(Change::Drop),
            Self::List => is("GET", "/setup/organization/user"),
            Self::Guard => is("GET", "/setup/user/{id}"),
            Self::DeleteUser => is("DELETE", "/setup/user/{id}"),
            Self::Forget => status && seen.has(Change::Forget),
            Self::Retired => status && seen.has(Change::Retired),
            Self::DeleteSecret => secret && seen.verb == "delete",
            Self::Unstage => !here && is("delete", "secrets"),
            Self::Unfinalize => seen.has(Change::RemoveFinalizer),
            Self::Event => here && seen.resource == "events" && seen.is_write(),
            Self::Lease => seen.resource == "leases" && seen.is_write(),
            Self::Restart => here && is("patch", "deployments"),
            Self::Record => !here && is("create", "secrets") && seen.name.contains("-retained-"),
            Self::Release => here && is("patch", "secrets"),
        }
    }
}
