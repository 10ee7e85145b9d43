//! A value that is there as it is: in a file that is read again when it changed, or in a variable.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};

use super::allowed::Allowed;
use super::source::{SecretError, Source};
use super::unavailable::{Place, Unavailable};
use super::value::{Revealed, fit};
use crate::policy::document::SecretSource;

/// How long a change of a file may go unseen.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How old a file must be for its time to tell whether it changed: clocks of file systems tick slowly.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells one state of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A value that was read, and the state of its file.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) value: Revealed,
    /// None where only reading tells whether it changed.
    stamp: Option<Stamp>,
}

/// Reads a value, unless it is the one that was read `before`. Blocks while it does.
///
/// # Errors
/// It may not come from there, cannot be read, or cannot be sent.
pub(super) fn read(
    allowed: &Allowed,
    source: &SecretSource,
    before: Option<&Given>,
) -> Result<Given, Unavailable> {
    let from = allowed.admit(source).map_err(Arc::new)?;
    let stamp = match &from {
        Source::File(path) => stamp(path)?,
        Source::Env(_) => None,
    };
    // What is read below is at least as new as the stamp.
    if let (Some(stamp), Some(before)) = (stamp, before)
        && before.stamp == Some(stamp)
    {
        return Ok(before.clone());
    }
    let value = from.read().map_err(Arc::new)?;
    let bytes = value.expose_secret().as_bytes();
    fit(bytes).map_err(|fault| Unavailable::Unfit { place: Place::from(source), fault })?;
    Ok(Given { value: Revealed::new(bytes), stamp })
}

/// Reads a value that is not sent as it is. Blocks while it does.
///
/// # Errors
/// It may not come from there, or cannot be read.
pub(super) fn text(allowed: &Allowed, source: &SecretSource) -> Result<SecretString, Unavailable> {
    Ok(allowed.read(source).map_err(Arc::new)?)
}

/// The state of a file, when it tells whether the file changed.
fn stamp(path: &Path) -> Result<Option<Stamp>, Unavailable> {
    let data = std::fs::metadata(path)
        .map_err(|reason| Arc::new(SecretError::File { path: path.to_owned(), reason }))?;
    let settled = |seconds: i64| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::now().duration_since(at).is_ok_and(|age| age >= SETTLED)
    };
    let stamp = Stamp {
        device: data.dev(),
        inode: data.ino(),
        size: data.size(),
        modified: (data.mtime(), data.mtime_nsec()),
        changed: (data.ctime(), data.ctime_nsec()),
    };
    Ok(Some(stamp).filter(|_| settled(data.mtime()) && settled(data.ctime())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_written_is_read_to_tell_whether_it_changed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(stamp(file.path()).unwrap(), None);
        let old = stamp(Path::new("/bin/sh")).unwrap();
        assert!(old.is_some() && old == stamp(Path::new("/bin/sh")).unwrap());
        assert!(stamp(Path::new("/nowhere/at/all")).is_err());
    }
}
