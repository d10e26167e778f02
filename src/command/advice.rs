//! What a reason means and what to do about it, in the words of `docs/failures.md`: there is one table of failures.

/// The table, as people read it.
const TABLE: &str = include_str!("../../docs/failures.md");

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advice {
    /// Such as `stalled` or `tried again`.
    pub(super) course: &'static str,
    /// What it means, what to do.
    pub(super) text: &'static str,
}

/// The row of `reason`; `None` if an operator of another version said it.
pub(super) fn about(reason: &str) -> Option<Advice> {
    let named = format!("`{reason}`");
    let row = TABLE
        .lines()
        .filter(|line| line.starts_with("| `"))
        .find(|line| line.split('|').nth(1).is_some_and(|cell| cell.contains(&named)))?;
    let mut cells = row.split('|').skip(2).map(str::trim);
    Some(Advice {
        course: cells.next()?,
        text: cells.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn every_row_of_the_table_is_found_by_each_of_its_reasons() {
        let advice = about("InvalidSpec").unwrap();
        assert_eq!(advice.course, "stalled");
        assert!(
            advice.text.starts_with("the message says which field"),
            "{advice:?}"
        );
        assert_eq!(about("Suspended").unwrap().course, "reported");
        assert_eq!(about("Nonsense"), None);
        assert_eq!(about("Ready"), None);
    }
}
