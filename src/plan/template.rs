//! Files of the Secret, rendered from its values.
//!
//! A template is text with `{{ token }}`, `{{ account }}`, `{{ endpoint }}` and `{{ organization }}` in it: no
//! statements, no operators, no filters. Fuel bounds how long a template runs, but not how long the strings become that
//! it makes: a few dozen times `{% set a = a ~ a %}` would be enough for a terabyte.

use std::collections::BTreeMap;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};

use crate::api::{SecretTemplate, SecretValue};

/// Instructions of one template; the longest that the API takes needs less.
const FUEL: u64 = 20_000;
/// Bytes that the rendered files of one Secret may have together; the API server takes a megabyte.
const MAX_BYTES: usize = 256 * 1024;

/// Renders the files of a Secret from its values and the token.
///
/// # Errors
/// A sentence, without any value, if a template is more than text and values, or if it all becomes too large.
pub fn render(
    template: &SecretTemplate,
    values: &BTreeMap<SecretValue, String>,
    token: &str,
) -> Result<BTreeMap<String, String>, String> {
    let mut named: BTreeMap<&str, &str> = values.iter().map(|(v, text)| (v.name(), text.as_str())).collect();
    named.insert(SecretValue::Token.name(), token);
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(syntax());
    environment.set_fuel(Some(FUEL));
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    for (key, source) in &template.data {
        only_values(source, &named).map_err(|what| format!("secret.template.data[{key}]: {what}"))?;
        // What minijinja says of an error may quote a value.
        let failed =
            |e: minijinja::Error| format!("secret.template.data[{key}] cannot be rendered: {}", e.kind());
        let parsed = environment.template_from_str(source).map_err(failed)?;
        let text = parsed.render(Value::from_pairs(named.clone())).map_err(failed)?;
        bytes += text.len();
        if bytes > MAX_BYTES {
            return Err(format!(
                "secret.template.data becomes larger than {} KiB: shorten it",
                MAX_BYTES / 1024
            ));
        }
        files.insert(key.clone(), text);
    }
    Ok(files)
}

/// A file keeps the newline at its end.
fn syntax() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    // It fails only where delimiters are changed to ones that are alike.
    syntax.build().unwrap_or_default()
}

fn only_values(source: &str, named: &BTreeMap<&str, &str>) -> Result<(), String> {
    for token in tokenize(source, false, syntax()) {
        let (token, _) = token.map_err(|e| format!("it cannot be read: {}", e.kind()))?;
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::VariableEnd => {}
            Token::Ident(name) if named.contains_key(name) => {}
            Token::Ident(name) => {
                let known: Vec<_> = named.keys().copied().collect();
                return Err(format!(
                    "there is no value {name}: this Secret has {}",
                    known.join(", ")
                ));
            }
            _ => {
                return Err(
                    "a template is text with values such as {{ token }}: no statements, operators or filters"
                        .to_owned(),
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> Result<String, String> {
        let template = SecretTemplate {
            data: BTreeMap::from([("f".to_owned(), source.to_owned())]),
            ..SecretTemplate::default()
        };
        let values = BTreeMap::from([(SecretValue::Endpoint, "https://x".to_owned())]);
        render(&template, &values, "tok-1").map(|mut files| files.remove("f").unwrap_or_default())
    }

    #[test]
    fn a_template_is_text_and_values() {
        assert_eq!(
            rendered("[default]\ntoken = {{ token }}\nurl={{endpoint}}\n").as_deref(),
            Ok("[default]\ntoken = tok-1\nurl=https://x\n")
        );
        assert_eq!(
            rendered("{\"a\": \"{b} 100%\"}").as_deref(),
            Ok("{\"a\": \"{b} 100%\"}")
        );
    }

    #[test]
    fn nothing_else_is_rendered() {
        for source in [
            "{% set a = token ~ token %}{{ a }}",
            "{% for c in token %}{{ c }}{% endfor %}",
            "{% include 'etc' %}",
            "{{ token * 1000000 }}",
            "{{ token ~ token }}",
            "{{ token | upper }}",
            "{{ token[0] }}",
            "{{ token.__class__ }}",
            "{{ range(9) }}",
            "{{ \"}}\" * 9 }}",
            "{{ token if token else endpoint }}",
            "{{ account }}",
            "{{ token",
            "{{ token token }}",
            "{{ }}",
        ] {
            let error = rendered(source).expect_err(source);
            assert!(!error.contains("tok-1"), "{error}");
        }
        assert!(
            rendered("{{ account }}")
                .expect_err("none")
                .contains("endpoint, token")
        );
    }

    #[test]
    fn the_longest_template_has_fuel_enough_and_the_largest_result_is_refused() {
        let many = "{{token}}".repeat(8192 / 9);
        assert_eq!(rendered(&many).map(|t| t.len()), Ok(5 * (8192 / 9)));
        let long = "x".repeat(MAX_BYTES + 1);
        assert!(rendered(&long).expect_err("too large").contains("256 KiB"));
    }
}
