//! One check, and how it went.

use jiff::Timestamp;
use serde::Serialize;

/// Clocks that are further apart make ages and windows wrong, in seconds.
const APART: i64 = 30;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    Ok,
    /// It works, and could be better, or could not be checked.
    Warning,
    /// It does not work.
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Stable, for programs.
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    /// What was checked, such as a name.
    pub(super) subject: String,
    pub(super) verdict: Verdict,
    /// What was found, and what to do.
    pub(super) message: String,
}

impl Check {
    fn new(name: &'static str, subject: &str, verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            name,
            subject: subject.to_owned(),
            verdict,
            message: message.into(),
        }
    }

    pub(super) fn ok(check: &'static str, subject: &str, message: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Ok, message)
    }

    pub(super) fn warning(check: &'static str, subject: &str, message: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Warning, message)
    }

    pub(super) fn failed(check: &'static str, subject: &str, message: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Failed, message)
    }

    /// How far a clock is from that of this machine, which is `ours`.
    pub(super) fn clock(subject: &str, theirs: Option<Timestamp>, ours: Timestamp) -> Self {
        const NAME: &str = "clock";
        let Some(theirs) = theirs else {
            return Self::warning(
                NAME,
                subject,
                "its replies have no date, so that its clock is not known",
            );
        };
        let apart = theirs.as_second() - ours.as_second();
        // Dates have whole seconds.
        match apart.abs() {
            0 | 1 => Self::ok(NAME, subject, "the same as on this machine"),
            seconds if seconds <= APART => {
                Self::ok(NAME, subject, format!("{seconds}s from that of this machine"))
            }
            seconds => Self::warning(
                NAME,
                subject,
                format!(
                    "{seconds}s from that of this machine: ages and windows are wrong by that much; set the clocks by NTP"
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Check, Verdict};

    #[test]
    fn a_clock_that_is_more_than_half_a_minute_off_is_a_warning() {
        let ours: Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        for (theirs, verdict, beginning) in [
            ("10:00:01", Verdict::Ok, "the same as on this machine"),
            ("09:59:58", Verdict::Ok, "2s from that of this machine"),
            ("10:00:30", Verdict::Ok, "30s from that of this machine"),
            ("09:59:30", Verdict::Ok, "30s from that of this machine"),
            (
                "10:00:31",
                Verdict::Warning,
                "31s from that of this machine: ages",
            ),
            (
                "09:59:29",
                Verdict::Warning,
                "31s from that of this machine: ages",
            ),
        ] {
            let at = format!("2026-01-05T{theirs}Z").parse().unwrap();
            let check = Check::clock("API server", Some(at), ours);
            assert_eq!(check.verdict, verdict, "{theirs}");
            assert!(
                check.message.starts_with(beginning),
                "{theirs}: {}",
                check.message
            );
        }
        let unknown = Check::clock("API server", None, ours);
        assert_eq!(unknown.verdict, Verdict::Warning);
        assert!(unknown.message.contains("have no date"), "{}", unknown.message);
    }
}
