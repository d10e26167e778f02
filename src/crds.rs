//! Writes the custom resource definitions as YAML.

use std::fmt::Write as _;
use std::path::Path;

/// First line of each file, so that it is not edited by hand.
const HEADER: &str = "# Made by `programmatic-users crds`; do not edit.\n";

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition has no YAML form.
    #[error("cannot write a definition as YAML: {0}")]
    Yaml(String),
    /// The folder or a file in it cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(String, std::io::Error),
}

/// Each file's name and text.
pub fn files() -> Result<Vec<(&'static str, String)>, Error> {
    crate::api::crds()
        .into_iter()
        .map(|(name, crd)| {
            let yaml = serde_saphyr::to_string(&crd).map_err(|e| Error::Yaml(e.to_string()))?;
            Ok((name, format!("{HEADER}{yaml}")))
        })
        .collect()
}

/// All definitions as one YAML stream.
pub fn stream() -> Result<String, Error> {
    let mut out = String::new();
    for (_, text) in files()? {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "---\n{}", text.trim_end());
    }
    Ok(out)
}

/// Writes one file a kind into `dir`.
pub fn write(dir: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e| Error::Write(path, e)
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, text) in files()? {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}
