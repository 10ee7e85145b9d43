//! The sink that is a file: rotated by size, reopened when it was moved away, repaired after a kill.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AuditError;
use super::event::Line;
use super::sink::{Sink, Wrote};

mod open;

use open::{directory, is_at, open, sync_directory};

/// How often it is looked whether the file is still the one at the path.
const LOOK: Duration = Duration::from_secs(1);

/// A file that takes lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Where it is. Its directory must exist.
    pub path: PathBuf,
    /// The size at which it is moved to `path.1`, in bytes.
    pub max_bytes: u64,
    /// How many old files `path.1`, `path.2`, … are kept.
    pub keep: u32,
}

impl FileSettings {
    /// A file at `path` with the usual limits: 8 old files of 256 MiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 256 << 20, keep: 8 }
    }

    /// Opens or creates the file.
    pub(super) fn open(self) -> Result<FileSink, AuditError> {
        let path = &self.path;
        if self.max_bytes == 0 || self.keep == 0 {
            return Err(AuditError::Rotation(path.clone()));
        }
        if !directory(path).is_dir() {
            return Err(AuditError::NoDirectory(path.clone()));
        }
        match open(path) {
            Ok((file, cut)) => {
                Ok(FileSink { settings: self, file, torn_at: None, looked: Instant::now(), cut })
            }
            Err(error) => Err(AuditError::Open { sink: path.display().to_string(), error }),
        }
    }
}

/// The sink of [`FileSettings`].
pub(super) struct FileSink {
    /// Where, and how much.
    settings: FileSettings,
    /// The file that is open, locked against a second gateway.
    file: File,
    /// The length to go back to, after a write that went out in part.
    torn_at: Option<u64>,
    /// When it was last looked whether the path still leads to the file.
    looked: Instant,
    /// Bytes of unfinished last lines that were cut, and not told yet.
    cut: u64,
}

impl FileSink {
    /// Writes lines; `out` counts those that are out, also when it fails.
    fn write_lines(&mut self, lines: &[Arc<Line>], out: &mut usize) -> io::Result<()> {
        self.mend()?;
        self.look()?;
        let mut length = self.file.metadata()?.len();
        let (mut bytes, mut held) = (Vec::new(), 0);
        for line in lines {
            let text = format!("{line}\n");
            let fits = length + (bytes.len() + text.len()) as u64 <= self.settings.max_bytes;
            if !fits && length + bytes.len() as u64 > 0 {
                self.append(&bytes, length)?;
                *out += std::mem::take(&mut held);
                bytes.clear();
                self.rotate()?;
                length = 0;
            }
            bytes.extend_from_slice(text.as_bytes());
            held += 1;
        }
        self.append(&bytes, length)?;
        *out += held;
        Ok(())
    }

    /// Writes bytes at the end of a file of this length; all, or none.
    fn append(&mut self, bytes: &[u8], length: u64) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        if written.is_err() {
            self.torn_at = Some(length);
            // When this fails too, it is done before the next attempt.
            let _ = self.mend();
        }
        written
    }

    /// Takes back a write that went out in part.
    fn mend(&mut self) -> io::Result<()> {
        if let Some(length) = self.torn_at {
            // Somebody else may have emptied the file since.
            if self.file.metadata()?.len() > length {
                self.file.set_len(length)?;
            }
            self.torn_at = None;
        }
        Ok(())
    }

    /// Follows the path when it leads elsewhere than to the open file.
    fn look(&mut self) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if !is_at(&self.file, &self.settings.path)? {
                self.reopen()?;
            }
        }
        Ok(())
    }

    /// Moves `path` to `path.1`, `path.1` to `path.2` and so on, and starts a new file.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // RACE: what was moved away meanwhile, by somebody or by an attempt that failed later, is not moved again.
        if is_at(&self.file, &self.settings.path)? {
            let keep = self.settings.keep;
            // Only up to the first gap: so that a repeated attempt pushes nothing out at the end.
            let gap = (1..keep).find(|number| !self.numbered(*number).exists()).unwrap_or(keep);
            for number in (1..gap).rev() {
                std::fs::rename(self.numbered(number), self.numbered(number + 1))?;
            }
            std::fs::rename(&self.settings.path, self.numbered(1))?;
        }
        let (file, cut) = open(&self.settings.path)?;
        self.file = file;
        self.cut += cut;
        sync_directory(&self.settings.path)
    }

    /// The path of an old file.
    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.settings.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Sink for FileSink {
    fn name(&self) -> Arc<str> {
        "file".into()
    }

    fn write(&mut self, lines: &[Arc<Line>]) -> Wrote {
        let mut out = 0;
        let error = self.write_lines(lines, &mut out).err();
        Wrote { lines: out, error }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if is_at(&self.file, &self.settings.path)? {
            return Ok(());
        }
        self.file.sync_all()?;
        let (file, cut) = open(&self.settings.path)?;
        self.file = file;
        self.torn_at = None;
        self.cut += cut;
        Ok(())
    }

    fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::path::Path;

    use super::super::{Audit, Kind, Outcome, Settings, SinkSettings, Writer};
    use super::*;

    pub(super) const FINISH: Duration = Duration::from_secs(30);

    pub(super) fn start(settings: FileSettings) -> (Audit, Writer) {
        let sinks = vec![SinkSettings::File(settings)];
        Audit::start(Settings { sinks, ..Settings::default() }, vec![]).unwrap()
    }

    pub(super) fn refused(path: &Path) -> String {
        match FileSettings::new(path).open() {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        }
    }

    fn emit(audit: &Audit, events: usize) {
        (0..events).for_each(|_| audit.record(Kind::Connection).finish(Outcome::Ok));
    }

    pub(super) fn seqs(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let seq = |line| serde_json::from_str::<serde_json::Value>(line).unwrap().get("seq")?.as_u64();
        text.lines().map(|line| seq(line).unwrap()).collect()
    }

    #[test]
    fn l2_rotation_keeps_every_line_and_every_file_below_its_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let settings = FileSettings { max_bytes: 2000, keep: 100, ..FileSettings::new(&path) };
        let (audit, writer) = start(settings);
        emit(&audit, 200);
        writer.finish(FINISH).unwrap();
        let mut paths = vec![path.clone()];
        paths.extend(
            (1..).map(|n| directory.path().join(format!("audit.jsonl.{n}"))).take_while(|p| p.exists()),
        );
        assert!(paths.len() > 10);
        assert!(paths.iter().all(|path| fs::metadata(path).unwrap().len() <= 2000));
        let all: Vec<u64> = paths.iter().rev().flat_map(|path| seqs(path)).collect();
        assert_eq!(all, (1..=200).collect::<Vec<_>>());
    }

    #[test]
    fn only_so_many_old_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        // Smaller than one line: each has its own file.
        let (audit, writer) = start(FileSettings { max_bytes: 1, keep: 2, ..FileSettings::new(&path) });
        emit(&audit, 9);
        writer.finish(FINISH).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        let newest =
            ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"].map(|name| seqs(&directory.path().join(name)));
        assert_eq!(newest, [[9], [8], [7]]);
    }

    #[test]
    fn a_rotation_that_failed_half_way_pushes_nothing_out_when_it_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let settings = FileSettings { keep: 2, ..FileSettings::new(&path) };
        let mut sink = settings.open().unwrap();
        fs::write(sink.numbered(1), "old").unwrap();
        // As if `path.1` had been moved on, and then the disk had failed.
        fs::rename(sink.numbered(1), sink.numbered(2)).unwrap();
        sink.rotate().unwrap();
        assert_eq!(fs::read_to_string(sink.numbered(2)).unwrap(), "old");
        // As if `path` had been moved, and then no descriptor had been left to open a new one.
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        sink.rotate().unwrap();
        assert_eq!(fs::read_to_string(sink.numbered(2)).unwrap(), "old");
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_opened_anew_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let moved = directory.path().join("moved");
        let (audit, writer) = start(FileSettings::new(&path));
        emit(&audit, 2);
        audit.flushed().await;
        fs::rename(&path, &moved).unwrap();
        emit(&audit, 1);
        audit.flushed().await;
        audit.reopen();
        emit(&audit, 1);
        writer.finish(FINISH).unwrap();
        assert_eq!((seqs(&moved), seqs(&path)), (vec![1, 2, 3], vec![4]));
    }

    #[test]
    fn a_file_that_was_removed_is_noticed_without_a_request() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut sink = FileSettings::new(&path).open().unwrap();
        fs::remove_file(&path).unwrap();
        sink.look().unwrap();
        assert!(!path.exists());
        sink.looked = Instant::now().checked_sub(LOOK).unwrap();
        sink.look().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_write_that_went_out_in_part_is_taken_back_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut sink = FileSettings::new(&path).open().unwrap();
        sink.append(b"whole\n", 0).unwrap();
        sink.file.write_all(b"par").unwrap();
        sink.torn_at = Some(6);
        assert_eq!(sink.write(&[]).error.map(|error| error.kind()), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
        // Emptied by somebody else meanwhile: nothing is taken back, and no hole is made.
        sink.file.set_len(0).unwrap();
        sink.torn_at = Some(6);
        assert!(sink.write(&[]).error.is_none());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_full_disk_is_an_error_of_the_batch_and_never_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut sink = FileSettings::new(&path).open().unwrap();
        let good =
            std::mem::replace(&mut sink.file, OpenOptions::new().append(true).open("/dev/full").unwrap());
        let error = sink.append(b"line\n", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        sink.file = good;
        assert!(sink.write(&[]).error.is_none());
    }
}
