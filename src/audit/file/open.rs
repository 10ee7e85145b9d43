//! The file at a path: opened, locked, and rid of a line that a kill tore.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::audit::event::SCHEMA;

/// The longest unfinished last line that is believed to be one of ours.
const LONGEST_LINE: u64 = 1 << 20;

/// Opens the file for appending, locks it, and cuts an unfinished last line.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process writes to it")),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let cut = cut_torn_line(&file)?;
    Ok((file, cut))
}

/// Cuts what follows the last line end. Returns how many bytes that was.
fn cut_torn_line(mut file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut tail)?;
    let torn = tail.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
    if torn == 0 {
        return Ok(0);
    }
    // A torn line of ours begins like one. Anything else is somebody's file that must not be emptied.
    let own = torn < LONGEST_LINE && starts_like_ours(&tail, torn);
    if !own {
        return Err(io::Error::other("it does not end like an audit log: choose another path"));
    }
    file.set_len(length - torn)?;
    Ok(torn)
}

/// Whether the last `torn` bytes are the beginning of a record, or the zeros that a power cut leaves.
fn starts_like_ours(tail: &[u8], torn: u64) -> bool {
    let opening = format!(r#"{{"schema":"{SCHEMA}","#);
    let torn = usize::try_from(torn).ok().and_then(|torn| tail.len().checked_sub(torn));
    let line = torn.and_then(|start| tail.get(start..)).unwrap_or_default();
    line.iter().zip(opening.as_bytes()).all(|(is, should)| is == should || *is == 0)
}

/// Whether the path leads to this file.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok(there.ino() == own.ino() && there.dev() == own.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the names in the file's directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// The directory that a file is in.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::FileSettings;
    use super::super::tests::{FINISH, refused, seqs, start};

    #[test]
    fn a_line_torn_by_a_kill_is_cut_at_the_next_start_and_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let whole = "{\"schema\":\"sluicegate.audit/1\",\"seq\":1}\n";
        for torn in ["{", "{\"schema\":\"sluicegate.audit/1\",\"seq\":2,\"ti", "\0\0\0"] {
            fs::write(&path, format!("{whole}{torn}")).unwrap();
            let (_, writer) = start(FileSettings::new(&path));
            writer.finish(FINISH).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let told: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(told.pointer("/lost/bytes").unwrap(), torn.len());
            assert_eq!((told.get("kind").unwrap(), text.lines().count()), (&"lost".into(), 2));
        }
        fs::write(&path, "{\"schema\":").unwrap();
        let (_, writer) = start(FileSettings::new(&path));
        writer.finish(FINISH).unwrap();
        assert_eq!(seqs(&path), [1]);
    }

    #[test]
    fn somebody_elses_file_is_never_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        for text in ["a note without a line end", &"x".repeat(3 << 20)] {
            fs::write(&path, text).unwrap();
            assert!(refused(&path).contains("choose another path"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(refused(Path::new("/dev/null")).contains("not a regular file"));
    }

    #[test]
    fn a_missing_directory_a_second_gateway_and_senseless_limits_are_clear_errors() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refused(&directory.path().join("no/audit.jsonl")).contains("does not exist"));
        let path = directory.path().join("audit.jsonl");
        let _first = FileSettings::new(&path).open().unwrap();
        assert!(refused(&path).contains("another process"));
        let other = FileSettings::new(directory.path().join("other"));
        assert!(FileSettings { keep: 0, ..other.clone() }.open().is_err());
        assert!(FileSettings { max_bytes: 0, ..other }.open().is_err());
    }
}
