//! The layers above the defaults: the file, and over it the environment.

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile};

use super::finding::{Finding, Severity, quoted};
use super::source::Source;

/// Variables of kimgate that are not keys.
const NOT_KEYS: [&str; 5] = [
    "KIMGATE_CONFIG",
    "KIMGATE_PASSWORD",
    "KIMGATE_PKCS12_PASSWORD",
    "KIMGATE_LOG",
    "KIMGATE_REQUIRE_INTEROP",
];

/// What was written, without the defaults, which `Settings` has itself.
pub(super) struct Layers {
    /// The file with the environment merged over it.
    pub(super) merged: Dict,
    /// The environment's values as text, by key.
    pub(super) raw: Vec<(Vec<String>, String)>,
    /// What is wrong with variables.
    pub(super) findings: Vec<Finding>,
}

/// Reads the file's values and merges the `KIMGATE_` variables over them.
pub(super) fn merge(
    source: &mut Source,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Layers, Box<figment::Error>> {
    let mut figment = Figment::from(Toml::string(source.text()));
    let file: Dict = figment.extract()?;
    let mut layers = Layers { merged: Dict::new(), raw: Vec::new(), findings: Vec::new() };
    let mut variables: Vec<_> = env.collect();
    variables.sort();
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix("KIMGATE_") else { continue };
        if NOT_KEYS.contains(&variable.as_str()) {
            continue;
        }
        if !rest.contains("__") {
            layers.findings.push(ignored(&variable, rest));
            continue;
        }
        let key = key_of(rest, &file);
        let value = Serialized::from(nested(&key, read(&text)), Profile::Default);
        figment = figment.merge(value);
        source.set_by(key.clone(), variable);
        layers.raw.push((key, text));
    }
    layers.merged = if layers.raw.is_empty() { file } else { figment.extract()? };
    Ok(layers)
}

/// A variable's key. Variables are written in capitals and names are not, so a name that the file
/// already has is found without case; a new one is taken in lower case.
fn key_of(rest: &str, file: &Dict) -> Vec<String> {
    let mut table = Some(file);
    let mut key = Vec::new();
    for part in rest.split("__") {
        let known = table.and_then(|table| {
            let same = |name: &&String| name.eq_ignore_ascii_case(part);
            table.keys().find(|name| *name == part).or_else(|| table.keys().find(same))
        });
        let name = known.cloned().unwrap_or_else(|| part.to_ascii_lowercase());
        table = table.and_then(|table| table.get(&name)).and_then(Value::as_dict);
        key.push(name);
    }
    key
}

/// A variable's value: figment reads lists, numbers and truth values as TOML would. Its parser
/// recurses and no key holds a list of lists, so a text with more brackets stays text.
fn read(text: &str) -> Value {
    let brackets = text.bytes().filter(|b| matches!(b, b'[' | b'{')).count();
    if brackets > 1 { Value::from(text) } else { text.parse().unwrap_or_else(|_| text.into()) }
}

fn nested(key: &[String], value: Value) -> Dict {
    match key {
        [name] => Dict::from([(name.clone(), value)]),
        [name, rest @ ..] => Dict::from([(name.clone(), Value::from(nested(rest, value)))]),
        [] => Dict::new(),
    }
}

/// Container platforms set variables such as `KIMGATE_PORT` for a service of that name, so a
/// variable without a table is only worth a warning.
fn ignored(variable: &str, rest: &str) -> Finding {
    let wanted = rest.to_ascii_lowercase();
    let meant = super::settings::every_key()
        .into_iter()
        .map(|(tables, key)| [tables, vec![key]].concat())
        .find(|names| names.len() > 1 && names.join("_") == wanted);
    let example = match meant {
        Some(names) => names.join("__").to_ascii_uppercase(),
        None => "GATEWAY__NAME".into(),
    };
    Finding {
        severity: Severity::Warning,
        file: variable.into(),
        line: None,
        column: None,
        key: String::new(),
        problem: format!("{} names no key and is ignored", quoted(variable)),
        remedy: format!("write two underscores between table and key, as in KIMGATE_{example}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_file_are_found_without_case() {
        let file: Dict = Figment::from(Toml::string("[workstations.PC1]\n[workstations.pc2]\n"))
            .extract()
            .unwrap();
        assert_eq!(
            key_of("WORKSTATIONS__PC1__ADDRESSES", &file),
            ["workstations", "PC1", "addresses"]
        );
        assert_eq!(key_of("WORKSTATIONS__PC3", &file), ["workstations", "pc3"]);
    }

    #[test]
    fn deep_brackets_are_not_followed() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(read(&deep).as_str(), Some(deep.as_str()));
        assert!(read("[\"a\", \"b\"]").as_array().is_some());
    }
}
