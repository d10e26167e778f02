//! How results look: tables for people, JSON for programs.

use std::fmt::Write as _;

use clap::ValueEnum;
use comfy_table::presets;
use jiff::Timestamp;
use serde::Serialize;

/// Form of the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs; the keys are in docs/commands.md and stay.
    Json,
}

/// Flag for the form of the result.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct OutputArgs {
    /// Form of the result
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORM")]
    output: Format,
}

impl OutputArgs {
    pub(super) fn is_json(self) -> bool {
        self.output == Format::Json
    }

    /// JSON of `value`, or what `table` makes of it.
    pub(super) fn render<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> String) -> String {
        if self.is_json() { json(value) } else { table(value) }
    }
}

/// JSON with a newline at its end.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    // What is written here are texts, numbers, lists and maps by text: all of them have a JSON form.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut fit = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if steers(c) {
            // All of them are in texts, where JSON may write each so.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(fit, "\\u{unit:04x}");
            }
        } else {
            fit.push(c);
        }
    }
    fit.push('\n');
    fit
}

/// Aligned columns.
pub(super) struct Table(comfy_table::Table);

impl Table {
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        Self(table)
    }

    /// What is empty is shown as a dash.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells.map(|c| {
            if c.is_empty() {
                "-".to_owned()
            } else {
                one_line(&c)
            }
        }));
    }

    /// With a newline at its end.
    pub(super) fn finish(mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let lines = self.0.lines().map(|l| l.trim_end().to_owned() + "\n");
        lines.collect()
    }
}

/// Text from outside, fit for a terminal: names on the platform may hold anything, the codes that move the cursor and
/// those that turn the direction of writing among them.
pub(super) fn clean(text: &str) -> String {
    let fit = |c: char| if steers(c) { '\u{fffd}' } else { c };
    text.chars().map(fit).collect()
}

/// The same in one line.
pub(super) fn one_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n') || turns
}

/// How long ago, in one or two units, as `kubectl` shows it.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    span(now.as_second().saturating_sub(at.as_second()))
}

/// How long until then; `now` when it has come.
pub(super) fn until(at: Timestamp, now: Timestamp) -> String {
    match at.as_second().saturating_sub(now.as_second()) {
        ..=0 => "now".to_owned(),
        seconds => format!("in {}", span(seconds)),
    }
}

fn span(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..120 => format!("{s}s"),
        120..7_200 => format!("{}m", s / 60),
        7_200..172_800 => format!("{}h", s / 3_600),
        _ => format!("{}d", s / 86_400),
    }
}

/// `1 user`, `2 users`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{Table, clean, json, one_line, span, steers, until};

    #[test]
    fn columns_are_aligned_and_nothing_moves_the_cursor() {
        let mut table = Table::new(["NAME", "READY"]);
        table.row(["ci\u{1b}[2J".to_owned(), String::new()]);
        table.row(["longer-name".to_owned(), "True".to_owned()]);
        assert_eq!(
            table.finish(),
            "NAME          READY\nci\u{fffd}[2J        -\nlonger-name   True\n"
        );
        assert_eq!(clean("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(one_line("a\nok Secret"), "a ok Secret");
    }

    #[test]
    fn json_says_the_same_and_steers_no_terminal() {
        let value = serde_json::json!({"name": "a\u{9b}2J\u{7f}\u{202e}\u{1b}[0m\nä"});
        let text = json(&value);
        assert!(!text.chars().any(steers), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn spans_have_one_unit() {
        let shown: Vec<_> = [-5, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(span).into();
        assert_eq!(shown, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
        let at: jiff::Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        assert_eq!(until(at, at), "now");
    }
}
