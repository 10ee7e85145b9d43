//! Where values may come from: `secrets.allow` of the process configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use super::source::{SecretError, Source};
use crate::policy::document::SecretSource;

/// The directories and variables that values may come from.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Option<Arc<Only>>);

/// The only ones.
#[derive(Debug)]
struct Only {
    /// Directories, with everything below them.
    directories: Vec<PathBuf>,
    /// Variables.
    env: Vec<Arc<str>>,
}

impl Allowed {
    /// Every file and every variable.
    pub const ANY: Self = Self(None);

    /// Only these.
    #[must_use]
    pub fn only(directories: Vec<PathBuf>, env: Vec<Arc<str>>) -> Self {
        Self(Some(Arc::new(Only { directories, env })))
    }

    /// What is read for a source.
    ///
    /// # Errors
    /// It is not among them, or is a path that leads nowhere.
    pub fn admit(&self, source: &SecretSource) -> Result<Source, SecretError> {
        match source {
            SecretSource::Env(name) => {
                if let Some(only) = &self.0
                    && !only.env.contains(name)
                {
                    return Err(SecretError::NotAllowed(format!("environment variable `{name}`")));
                }
                Ok(Source::Env(name.to_string()))
            }
            SecretSource::File(path) => Ok(Source::File(self.real(path)?)),
        }
    }

    /// Reads a value once.
    ///
    /// # Errors
    /// It is not among them, or cannot be read; see [`SecretError`].
    pub fn read(&self, source: &SecretSource) -> Result<SecretString, SecretError> {
        self.admit(source)?.read()
    }

    /// The file that a path leads to, every `..` and symbolic link followed.
    ///
    /// SECURITY: that file is judged and read, not the path as written, which may lead anywhere.
    fn real(&self, path: &Path) -> Result<PathBuf, SecretError> {
        let Some(only) = &self.0 else { return Ok(path.to_owned()) };
        let real = |path: &Path| {
            path.canonicalize().map_err(|reason| SecretError::File { path: path.to_owned(), reason })
        };
        let file = real(path)?;
        let below = |directory: &PathBuf| real(directory).is_ok_and(|directory| file.starts_with(directory));
        if only.directories.iter().any(below) {
            Ok(file)
        } else {
            Err(SecretError::NotAllowed(format!("file `{}`", path.display())))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::symlink;

    use secrecy::ExposeSecret;

    use super::*;

    /// What a path gives where only `inside` of this directory is allowed.
    fn read(root: &Path, path: &str) -> Result<String, SecretError> {
        let allowed = Allowed::only(vec![root.join("inside")], Vec::new());
        let value = allowed.read(&SecretSource::File(root.join(path)));
        value.map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn only_files_that_lie_below_an_allowed_directory_are_read() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("inside/..data")).unwrap();
        std::fs::create_dir_all(at("inside-too")).unwrap();
        for path in ["inside/own", "inside/..data/token", "inside-too/a", "outside"] {
            std::fs::write(at(path), path).unwrap();
        }
        symlink("..data/token", at("inside/token")).unwrap();
        symlink(at("outside"), at("inside/leads-out")).unwrap();
        symlink(at("inside"), at("alias")).unwrap();
        for (path, value) in [
            ("inside/own", "inside/own"),
            ("inside/token", "inside/..data/token"),
            ("inside/../inside/own", "inside/own"),
            ("alias/own", "inside/own"),
        ] {
            assert_eq!(read(root.path(), path).unwrap(), value);
        }
        for path in ["outside", "inside/../outside", "inside/leads-out", "inside-too/a"] {
            let error = read(root.path(), path).unwrap_err();
            assert!(matches!(error, SecretError::NotAllowed(_)), "{path}: {error}");
            assert!(error.to_string().contains("secrets.allow"), "{error}");
        }
        assert!(matches!(read(root.path(), "inside/none").unwrap_err(), SecretError::File { .. }));
    }

    #[test]
    fn an_allowed_directory_that_is_a_link_is_the_one_that_it_leads_to() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("real")).unwrap();
        std::fs::write(root.path().join("real/a"), "a").unwrap();
        symlink(root.path().join("real"), root.path().join("inside")).unwrap();
        assert_eq!(read(root.path(), "inside/a").unwrap(), "a");
    }

    #[test]
    fn only_allowed_variables_are_read_where_they_are_listed() {
        let path = SecretSource::Env("PATH".into());
        assert!(Allowed::ANY.read(&path).is_ok());
        assert!(Allowed::only(Vec::new(), vec!["PATH".into()]).read(&path).is_ok());
        let error = Allowed::only(Vec::new(), vec!["HOME".into()]).read(&path).unwrap_err();
        assert!(matches!(error, SecretError::NotAllowed(_)), "{error}");
    }
}
