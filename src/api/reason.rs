//! The reasons of `Ready`, `Stalled`, `Reconciling` and of Events; `docs/failures.md` is checked against this list. `SecretPublished`, `AccessApplied`
//! and `Rotating` have words of their own.

use std::fmt;

macro_rules! reasons {
    ($($name:ident),* $(,)?) => {
        /// Why a condition has its status, or why an Event was published; `docs/failures.md` explains each failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "docs/failures.md explains each, and a test compares the two")]
        pub enum Reason {
            $($name),*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As conditions, Events and labels have it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }
        }
    };
}

reasons! {
    Accepted,
    AccessMissing,
    ConsumersNotEnabled,
    CreateBudgetExhausted,
    Creating,
    CredentialInvalid,
    CredentialMissing,
    CredentialNotGranted,
    CredentialUnreadable,
    DeletionBlocked,
    DeletionPolicyNotAllowed,
    Expired,
    HistoryRewound,
    ImplausibleTime,
    InternalError,
    InvalidConfiguration,
    InvalidEndpoint,
    InvalidSpec,
    JournalInvalid,
    NotAllowed,
    NotLeading,
    OrganizationChanged,
    OrganizationGone,
    OrphansDeleted,
    OrphansFound,
    PlatformDetail,
    PlatformError,
    PlatformUnreachable,
    PodsFromBefore,
    PodsUnknown,
    PreviousAccepted,
    RateLimited,
    Ready,
    Recovering,
    RejectedByPlatform,
    RestartRefused,
    RollingOut,
    RolloutGoing,
    RolloutHeld,
    RolloutStuck,
    Rotated,
    SecretConflict,
    SecretImmutable,
    SecretNotAllowed,
    SecretRejected,
    Suspended,
    TokenNotAccepted,
    TooManyUsers,
    TooOld,
    UnknownAccount,
    UnknownClass,
    UnknownGroup,
    UnknownOrganization,
    UnknownPolicy,
    UnknownUsers,
    UserLeftBehind,
    UserNotOurs,
    UsersExist,
    WorkloadsUnknown,
}

impl Reason {
    /// The reason of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|reason| reason.as_str() == text).copied()
    }

    /// Whether it is about the admin credential: `CredentialValid` of the Organization is false for it.
    #[must_use]
    pub const fn is_of_credential(self) -> bool {
        matches!(
            self,
            Self::CredentialInvalid
                | Self::CredentialMissing
                | Self::CredentialNotGranted
                | Self::CredentialUnreadable
        )
    }

    /// Whether a tenant can bring it about in its own namespace, and so keep a token from being replaced.
    #[must_use]
    pub const fn is_of_tenant(self) -> bool {
        matches!(
            self,
            Self::SecretRejected
                | Self::CreateBudgetExhausted
                | Self::TooManyUsers
                | Self::UnknownAccount
                | Self::UnknownPolicy
                | Self::UnknownGroup
        )
    }

    /// Whether it says that something succeeded, so that `docs/failures.md` has no row for it.
    #[must_use]
    pub const fn is_good_news(self) -> bool {
        matches!(
            self,
            Self::Accepted
                | Self::Creating
                | Self::OrphansDeleted
                | Self::PlatformDetail
                | Self::Ready
                | Self::Rotated
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<Reason> for String {
    fn eq(&self, other: &Reason) -> bool {
        *self == other.as_str()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Reason;

    #[test]
    fn each_failure_has_a_row_in_the_table_and_each_row_is_a_reason() {
        let table = include_str!("../../docs/failures.md");
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let explained: BTreeSet<&str> = cells
            .flat_map(|cell| {
                cell.split('(')
                    .next()
                    .unwrap_or_default()
                    .split('`')
                    .skip(1)
                    .step_by(2)
            })
            .collect();
        // Conditions HistoryRewound and OrphansFound have this reason, and a row of their own name.
        let by_condition = |reason: &Reason| *reason == Reason::UnknownUsers;
        let failures = Reason::ALL
            .iter()
            .filter(|reason| !reason.is_good_news() && !by_condition(reason));
        assert_eq!(explained, failures.map(|reason| reason.as_str()).collect());
    }

    #[test]
    fn a_reason_is_read_as_it_is_written() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("Nonsense"), None);
    }
}
