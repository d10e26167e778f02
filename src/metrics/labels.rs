//! Labels that counters and gauges share.

use prometheus_client::encoding::EncodeLabelSet;

/// Before all names.
pub(super) const PREFIX: &str = "programmatic_users";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct OfKind {
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct OfOrganization {
    pub(super) organization: String,
}

pub(super) fn of(organization: &str) -> OfOrganization {
    OfOrganization {
        organization: organization.to_owned(),
    }
}
