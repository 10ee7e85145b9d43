//! Where a secret's value comes from: an environment variable or a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::{Zeroize, Zeroizing};

/// The largest value that is read, in bytes, before its trailing newline is trimmed.
pub const MAX_BYTES: usize = 64 * 1024;

/// Where a value is read from; written `{env: NAME}` or `{file: PATH}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The environment variable of this name.
    Env(String),
    /// The file at this path.
    File(PathBuf),
}

/// Why a value could not be read. Names the place, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set; set it where the gateway is started")]
    EnvMissing(String),
    /// The variable's name cannot be one.
    #[error("`{0}` is not a name of an environment variable; it must not be empty or contain `=` or NUL")]
    EnvName(String),
    /// The file could not be opened or read.
    #[error("cannot read the secret file `{path}`: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The path leads to a directory, a pipe or a device.
    #[error("the secret file `{0}` is not a regular file")]
    NotAFile(PathBuf),
    /// The value has no bytes, or only a newline.
    #[error("the secret from {0} is empty")]
    Empty(String),
    /// The value is larger than [`MAX_BYTES`].
    #[error("the secret from {0} is larger than 65536 bytes")]
    TooLarge(String),
    /// The operator does not let values come from there.
    #[error("the {0} is not among `secrets.allow` of the configuration; add its directory or name there")]
    NotAllowed(String),
    /// The value is not text.
    #[error("the secret from {0} is not UTF-8 text")]
    NotText(String),
}

impl Source {
    /// Reads the value once. One trailing newline (`\n` or `\r\n`) is not part of it.
    ///
    /// # Errors
    /// Says which source failed and why; see [`SecretError`].
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let bytes = match self {
            Self::Env(name) => self.read_env(name)?,
            Self::File(path) => read_file(path)?,
        };
        if bytes.len() > MAX_BYTES {
            return Err(SecretError::TooLarge(self.place()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText(self.place()))?;
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() {
            return Err(SecretError::Empty(self.place()));
        }
        Ok(SecretString::from(text))
    }

    /// What messages call this source.
    fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("environment variable `{name}`"),
            Self::File(path) => format!("file `{}`", path.display()),
        }
    }

    /// The raw bytes of the variable `name`.
    #[expect(clippy::disallowed_methods, reason = "values of secrets are read here and nowhere else")]
    fn read_env(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(SecretError::EnvName(name.to_owned()));
        }
        match std::env::var(name) {
            Ok(value) => Ok(Zeroizing::new(value.into_bytes())),
            Err(std::env::VarError::NotPresent) => Err(SecretError::EnvMissing(name.to_owned())),
            Err(std::env::VarError::NotUnicode(value)) => {
                value.into_encoded_bytes().zeroize();
                Err(SecretError::NotText(self.place()))
            }
        }
    }
}

/// The raw bytes of the file at `path`, at most one more than [`MAX_BYTES`].
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |reason| SecretError::File { path: path.to_owned(), reason };
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(SecretError::NotAFile(path.to_owned()));
    }
    let limit = MAX_BYTES.saturating_add(1);
    // SECURITY: room for everything at once, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(64)));
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::net::UnixListener;

    use secrecy::ExposeSecret;

    use super::*;

    /// What reading a file with these bytes gives.
    fn read(bytes: &[u8]) -> Result<SecretString, SecretError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value");
        std::fs::write(&path, bytes).unwrap();
        Source::File(path).read()
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_the_value() {
        for (written, value) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\nb\n", "a\nb"), (" a ", " a ")]
        {
            assert_eq!(read(written.as_bytes()).unwrap().expose_secret(), value, "{written:?}");
        }
    }

    #[test]
    fn an_empty_value_is_refused() {
        for written in ["", "\n", "\r\n"] {
            let error = read(written.as_bytes()).unwrap_err();
            assert!(matches!(error, SecretError::Empty(_)), "{written:?}: {error}");
        }
    }

    #[test]
    fn a_value_above_the_cap_is_refused_and_one_at_the_cap_is_read() {
        assert_eq!(read(&vec![b'x'; MAX_BYTES]).unwrap().expose_secret().len(), MAX_BYTES);
        assert!(matches!(read(&vec![b'x'; MAX_BYTES + 1]).unwrap_err(), SecretError::TooLarge(_)));
    }

    #[test]
    fn errors_name_the_place_and_never_the_value() {
        let error = read(b"hunter2\xff").unwrap_err();
        let (shown, debug) = (error.to_string(), format!("{error:?}"));
        assert!(shown.contains("not UTF-8") && shown.contains("value`"), "{shown}");
        assert!(!shown.contains("hunter2") && !debug.contains("hunter2"));
    }

    #[test]
    fn a_missing_file_and_something_that_is_no_file_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Source::File(directory.path().join("none")).read().unwrap_err();
        assert!(matches!(missing, SecretError::File { .. }), "{missing}");
        assert!(matches!(Source::File(directory.path().into()).read(), Err(SecretError::NotAFile(_))));
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(matches!(Source::File(socket).read(), Err(SecretError::NotAFile(_))));
    }

    #[test]
    fn environment_variables_are_read_by_name() {
        assert!(!Source::Env("PATH".into()).read().unwrap().expose_secret().is_empty());
        let missing = Source::Env("SLUICEGATE_NO_SUCH_VARIABLE".into()).read().unwrap_err();
        assert!(missing.to_string().contains("`SLUICEGATE_NO_SUCH_VARIABLE` is not set"));
        for name in ["", "a=b", "a\0b"] {
            assert!(matches!(Source::Env(name.into()).read(), Err(SecretError::EnvName(_))), "{name:?}");
        }
    }
}
