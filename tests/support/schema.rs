//! Objects made from the schema of a custom resource definition: of every shape that it admits, at its bounds and a little
//! beyond. What the API server takes of them, it has to be possible to read.

use std::collections::BTreeMap;

use programmatic_users::api::crds;
use serde_json::{Map, Value, json};

/// Numbers that look random and are the same in each run.
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % n.max(1)
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The schema of the definition in this file of `crds/`.
#[must_use]
pub fn of(file: &str) -> Value {
    let crd = crds().into_iter().find(|(name, _)| *name == file).unwrap().1;
    let schema = crd.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// Strings that have fooled readers before, for every string whatever its pattern.
const STRINGS: [&str; 12] = [
    "",
    "a",
    "*",
    "\u{0}",
    "\u{202e}\u{1f600}",
    "\u{fffd}\u{ffff}",
    "null",
    "1e999",
    "-0",
    " ",
    "{{ token }}",
    "\u{1b}[31m",
];
const TIMES: [&str; 14] = [
    "2030-01-01T00:00:00Z",
    "2030-01-01T00:00:00+99:00",
    "2030-01-01T00:00:00+24:00",
    "2030-01-01T00:00:00-23:59",
    "2030-01-01t00:00:00z",
    "2030-06-30T23:59:60Z",
    "2030-02-30T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "8999-12-31T23:59:59.999999999-23:59",
    "1000-01-01T00:00:00.5+23:59",
    "0000-01-01T00:00:00Z",
    "2030-01-01T24:00:00Z",
    "2030-01-01T00:00:00.1234567890123Z",
    "2030-01-01 00:00:00Z",
];
const SPANS: [&str; 14] = [
    "24h",
    "1h30m15s",
    "999999h999999m999999s",
    "0s",
    "0h0m0s",
    "1m",
    "99999999999999999999999999999s",
    "9999999h",
    "1s1h",
    "1h1h",
    "1.5h",
    "-1h",
    "1d",
    "0000001s",
];
const NUMBERS: [f64; 10] = [
    0.0,
    1.0,
    -1.0,
    5.0,
    2_147_483_647.0,
    2_147_483_648.0,
    -2_147_483_649.0,
    4_294_967_296.0,
    1e19,
    1e300,
];

/// A value of the schema, with what may be left out left out now and then.
pub fn value(schema: &Value, random: &mut Random) -> Value {
    if let Some(all) = schema["enum"].as_array() {
        return random.pick(all).clone();
    }
    // Where a schema says so, and where it does not.
    if random.one_in(60) {
        return Value::Null;
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, random),
        Some("array") => {
            let most = schema["maxItems"].as_u64().unwrap_or(4).min(4);
            let n = random.below(usize::try_from(most).unwrap() + 1);
            (0..n).map(|_| value(&schema["items"], random)).collect()
        }
        Some("boolean") => json!(random.one_in(2)),
        Some("integer" | "number") => number(schema, random),
        Some("string") => json!(string(schema, random)),
        _ => json!({}),
    }
}

fn object(schema: &Value, random: &mut Random) -> Value {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut made = Map::new();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&key.as_str()) || random.one_in(3) {
            made.insert(key.clone(), value(property, random));
        }
    }
    let values = &schema["additionalProperties"];
    if values.is_object() {
        for _ in 0..random.below(3) {
            let key = random
                .pick(&["A", "a.b", "example.com/a", "\u{e4}", "x"])
                .to_string();
            made.insert(key, value(values, random));
        }
    }
    Value::Object(made)
}

fn number(schema: &Value, random: &mut Random) -> Value {
    let bounds = [schema["minimum"].as_f64(), schema["maximum"].as_f64()];
    let mut all = NUMBERS.to_vec();
    all.extend(bounds.into_iter().flatten().flat_map(|b| [b, b - 1.0, b + 1.0]));
    let n = *random.pick(&all);
    // Whole numbers come without a point, as people write them, where they can.
    match format!("{n:.0}").parse::<i64>() {
        Ok(whole) if !random.one_in(8) => json!(whole),
        _ => json!(n),
    }
}

fn string(schema: &Value, random: &mut Random) -> String {
    let pattern = schema["pattern"].as_str();
    if schema["format"] == "date-time" {
        return (*random.pick(&TIMES)).to_owned();
    }
    if pattern.is_some_and(|p| p.contains("h)?")) {
        return (*random.pick(&SPANS)).to_owned();
    }
    if random.one_in(8) {
        return (*random.pick(&STRINGS)).to_owned();
    }
    let (min, max) = (
        schema["minLength"].as_u64().unwrap_or(0),
        schema["maxLength"].as_u64(),
    );
    let some = |n: u64| if random_char_is_wide(n) { "\u{1f600}" } else { "a" };
    match pattern {
        Some(pattern) => of_pattern(pattern, random),
        // As long as it may be, and one longer; characters of four bytes count as one.
        None if random.one_in(4) => {
            let n = max.unwrap_or(64) + u64::from(random.one_in(3));
            some(n + u64::try_from(random.below(2)).unwrap()).repeat(usize::try_from(n).unwrap())
        }
        None => "abc".repeat(usize::try_from(min.max(1)).unwrap().min(3)),
    }
}

const fn random_char_is_wide(n: u64) -> bool {
    n.is_multiple_of(2)
}

/// A string of one of the patterns of `src/api`.
fn of_pattern(pattern: &str, random: &mut Random) -> String {
    let examples = BTreeMap::from([
        ("^act-", vec!["act-11aa22bb", "act-0", "act-"]),
        (r"^(\*|act-", vec!["*", "act-11aa22bb", "**"]),
        ("^(pol-", vec!["pol-1a2b", "2", "99999999999999999999999", "pol-"]),
        ("^u[gr][gr]-", vec!["ugr-1a2b", "urg-1", "ugx-1"]),
        (
            "^https?://",
            vec![
                "https://api.example.com",
                "http://127.0.0.1:1/",
                "https://[::1]:443",
                "https://:",
            ],
        ),
        ("^[a-z0-9]([-a-z0-9.]*", vec!["a", "a.b-c", "a..b", "A"]),
        ("^[-.*a-z0-9]+$", vec!["*", "a-*.b", "A*"]),
        ("^[-._*a-zA-Z0-9]+$", vec!["*", "*_TOKEN", "spot.ini", "a b"]),
        ("^[-._/*a-zA-Z0-9]+$", vec!["example.com/*", "*", "a/b/c", "a b"]),
        ("^[-._a-zA-Z0-9]+$", vec!["TOKEN", ".", "..", "-", "a b"]),
    ]);
    let found = examples.iter().find(|(start, _)| pattern.starts_with(*start));
    let (_, all) =
        found.unwrap_or_else(|| panic!("give examples of the pattern {pattern} in tests/support/schema.rs"));
    (*random.pick(all)).to_owned()
}
