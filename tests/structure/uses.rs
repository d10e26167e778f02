//! Which file of a part of `src` uses which.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, is_test, module, root};

/// The paths of a tree of `use` at the beginning of a text: those of `a::{b, c::d}` are `a::b` and `a::c::d`.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        let (mut depth, mut begin, mut all) = (0, 0, Vec::new());
        for (at, c) in inner.char_indices() {
            if depth == 0 && (c == ',' || c == '}') {
                all.extend(paths(&inner[begin..at]));
                begin = at + 1;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
        return all;
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    let inner = rest.strip_prefix("::").map(paths).unwrap_or_default();
    if word.is_empty() || !inner.is_empty() {
        return inner
            .into_iter()
            .map(|path| [vec![word], path].concat())
            .collect();
    }
    vec![vec![word]]
}

/// The files of a part of `src`, by module, with their code.
fn modules(part: &str) -> BTreeMap<String, String> {
    let src = root().join("src");
    let files = module(part).into_iter().filter(|path| !is_test(path));
    let named = files.map(|path| {
        let name = path.strip_prefix(&src).unwrap().with_extension("");
        let text: String = code(&path).into_iter().map(|(_, line)| line + "\n").collect();
        // Who may see an item is no use of it.
        let text = text.replace("pub(in crate::", "pub(in ");
        (name.to_str().unwrap().replace('/', "::"), text)
    });
    named.collect()
}

/// Which file uses which, within a part: by declaring it as a module, or by a path into it. A name that a file exports
/// again belongs to the file that defines it.
pub(super) fn uses(part: &str) -> BTreeSet<(String, String)> {
    let modules = modules(part);
    let mut exports = BTreeMap::new();
    for (module, text) in &modules {
        for statement in text.split(';').map(str::trim).filter(|s| s.starts_with("pub")) {
            let Some((_, tree)) = statement.split_once(" use ") else {
                continue;
            };
            for path in paths(tree) {
                let from = format!("{module}::{}", path[0]);
                exports.insert((module.clone(), path[path.len() - 1]), from);
            }
        }
    }
    let mut uses = BTreeSet::new();
    for (module, text) in &modules {
        let declared = modules.keys().filter(|inner| {
            let name = inner
                .strip_prefix(module.as_str())
                .and_then(|n| n.strip_prefix("::"));
            name.is_some_and(|name| text.contains(&format!("mod {name};")))
        });
        uses.extend(declared.map(|inner| (module.clone(), inner.clone())));
        let begins = ["crate::", "super::"].map(|begin| text.match_indices(begin));
        let begins = begins.into_iter().flatten().map(|(at, _)| at);
        let begins =
            begins.filter(|at| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
        for path in begins.flat_map(|at| paths(&text[at..])) {
            let mut at: Vec<&str> = module.split("::").collect();
            let up = path.iter().take_while(|name| **name == "super").count();
            at.truncate(if path[0] == "crate" { 0 } else { at.len() - up });
            let mut at = at.join("::");
            for name in path.iter().skip_while(|name| ["crate", "super"].contains(name)) {
                let inner = format!("{at}::{name}");
                let inner = inner.trim_start_matches("::");
                if modules.contains_key(inner) {
                    inner.clone_into(&mut at);
                    continue;
                }
                while let Some(from) = exports.get(&(at.clone(), *name)) {
                    at.clone_from(from);
                }
            }
            if modules.contains_key(&at) && at != *module {
                uses.insert((module.clone(), at));
            }
        }
    }
    uses
}
