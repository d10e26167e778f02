//! Inputs that are nearly those of a corpus: of bytes, of words, and of JSON values. A seed gives the same ones each time.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

/// What has broken parsers before.
const WORDS: [&str; 40] = [
    "",
    "0",
    "-1",
    "1",
    "9",
    "99",
    "9223372036854775807",
    "9223372036854775808",
    "1e999",
    "-0",
    "null",
    "true",
    "[]",
    "{}",
    "\"",
    "\\",
    "\0",
    "\u{202e}",
    "\u{1f980}",
    "\n",
    "\r\n",
    "%00",
    "%ff",
    "%2e%2e%2f",
    "*",
    "**",
    "(",
    "[a-z]{99}",
    "{{",
    "}}",
    "{{ token }}",
    "{% set a = a ~ a %}",
    "/k8s.",
    "act-1",
    "0 3 * 4 SUN",
    "Australia/Lord_Howe",
    "9999-12-31T23:59:60Z",
    "+99:99",
    "999999999999h",
    "${spot:userEmail}",
];

pub struct Mutator<'a> {
    random: StdRng,
    corpus: &'a [&'a [u8]],
}

impl<'a> Mutator<'a> {
    pub fn new(seed: u64, corpus: &'a [&'a [u8]]) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            corpus,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n.max(1))
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }

    /// One more input.
    pub fn next(&mut self) -> Vec<u8> {
        let index = self.below(self.corpus.len());
        let mut data = self.corpus[index].to_vec();
        for _ in 0..=self.below(4) {
            data = match (self.below(3), json_part(&data)) {
                (0 | 1, Some((head, value))) => self.json(&head, value),
                _ => self.bytes(data),
            };
        }
        data
    }

    /// Replaces, repeats, or takes out one value of many.
    fn json(&mut self, head: &[u8], mut value: Value) -> Vec<u8> {
        let by = match self.below(4) {
            0 => Value::from(self.word()),
            1 => serde_json::from_str(self.word()).unwrap_or(Value::Null),
            2 => Value::from(self.word().repeat(1 + self.below(300))),
            _ => self.other_value(),
        };
        let mut index = self.below(count(&value));
        replace(&mut value, &mut index, &by);
        [head, value.to_string().as_bytes()].concat()
    }

    /// A value of another file.
    fn other_value(&mut self) -> Value {
        let index = self.below(self.corpus.len());
        let Some((_, value)) = json_part(self.corpus[index]) else {
            return Value::Null;
        };
        let mut index = self.below(count(&value));
        find(&value, &mut index).cloned().unwrap_or(value)
    }

    fn bytes(&mut self, mut data: Vec<u8>) -> Vec<u8> {
        let (a, b) = (self.below(data.len() + 1), self.below(data.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        match self.below(6) {
            0 => {
                data.drain(from..to);
            }
            1 => {
                let part = data[from..to.min(from + 64)].to_vec();
                data.splice(from..from, part);
            }
            2 => {
                let word = self.word();
                data.splice(from..from, word.bytes());
            }
            3 if from < data.len() => data[from] ^= 1 << self.below(8),
            4 => {
                let word = self.word();
                data.splice(from..to.min(from + 8), word.bytes());
            }
            _ => {
                let other = self.below(self.corpus.len());
                let other = self.corpus[other];
                let begin = self.below(other.len() + 1);
                data.truncate(from);
                data.extend_from_slice(&other[begin..]);
            }
        }
        data
    }
}

/// JSON at the end of an input, and what stands before it.
fn json_part(data: &[u8]) -> Option<(Vec<u8>, Value)> {
    let line = data.iter().position(|b| *b == b'\n').map(|at| at + 1);
    [Some(0), line].into_iter().flatten().find_map(|at| {
        let value: Value = serde_json::from_slice(&data[at..]).ok()?;
        (value.is_object() || value.is_array()).then(|| (data[..at].to_vec(), value))
    })
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    1 + children(value).into_iter().map(count).sum::<usize>()
}

fn find<'v>(value: &'v Value, index: &mut usize) -> Option<&'v Value> {
    if *index == 0 {
        return Some(value);
    }
    *index -= 1;
    children(value).into_iter().find_map(|child| find(child, index))
}

/// Replaces the `index`th value, as they are met.
fn replace(value: &mut Value, index: &mut usize, by: &Value) {
    if *index == 0 {
        value.clone_from(by);
    }
    *index = index.wrapping_sub(1);
    match value {
        Value::Array(all) => all.iter_mut().for_each(|v| replace(v, index, by)),
        Value::Object(map) => map.values_mut().for_each(|v| replace(v, index, by)),
        _ => {}
    }
}
