//! The sink that is a stream: standard output.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::event::Line;
use super::sink::{Sink, Wrote};

/// The most bytes that a pipe that polls as writable takes without blocking (`PIPE_BUF` on Linux).
const CHUNK: usize = 4096;
/// How long one attempt waits for a reader, in nanoseconds.
const PATIENCE: i64 = 50_000_000;

/// Lines on a stream that cannot be taken back, and whose reader may be slow, stuck or gone.
pub(super) struct StreamSink {
    /// What it is called.
    name: Arc<str>,
    /// The stream.
    stream: File,
    /// How many bytes of the first line that is not out as a whole are out.
    ahead: usize,
}

impl StreamSink {
    /// The process's standard output.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self::new("stdout", io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// A stream by its descriptor.
    fn new(name: &str, stream: OwnedFd) -> Self {
        Self { name: name.into(), stream: stream.into(), ahead: 0 }
    }

    /// Waits a little until the stream takes bytes.
    fn wait(&self) -> io::Result<()> {
        let mut streams = [PollFd::new(&self.stream, PollFlags::OUT)];
        match poll(&mut streams, Some(&Timespec { tv_sec: 0, tv_nsec: PATIENCE })) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what follows the first `out` bytes, counting in `out`.
    fn write_from(&mut self, bytes: &[u8], out: &mut usize) -> io::Result<()> {
        while let Some(rest) = bytes.get(*out..).filter(|rest| !rest.is_empty()) {
            let chunk = rest.get(..CHUNK).unwrap_or(rest);
            match self.wait().and_then(|()| self.stream.write(chunk)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => *out += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Sink for StreamSink {
    fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    fn write(&mut self, lines: &[Arc<Line>]) -> Wrote {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(lines.len());
        for line in lines {
            // Writing to a vector cannot fail.
            let _ = writeln!(bytes, "{line}");
            ends.push(bytes.len());
        }
        let mut out = self.ahead;
        let error = self.write_from(&bytes, &mut out).err();
        let whole = ends.iter().take_while(|end| **end <= out).count();
        let end = whole.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
        self.ahead = out - end;
        Wrote { lines: whole, error }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::io::Read as _;

    use super::super::event::Event;
    use super::super::vocabulary::Kind;
    use super::*;

    fn lines(range: std::ops::RangeInclusive<u64>) -> Vec<Arc<Line>> {
        let line = |seq| {
            let mut event = Event::new(Kind::Admin, "x".into());
            event.seq = seq;
            event.error = Some(super::super::Text::new(&"e".repeat(500)));
            let body = event.body();
            Arc::new(Line::new(&event, body))
        };
        range.map(line).collect()
    }

    #[test]
    fn a_stream_that_is_closed_is_a_failed_write_and_not_a_crash() {
        let (reader, writer) = io::pipe().unwrap();
        let mut sink = StreamSink::new("stdout", writer.into());
        drop(reader);
        let wrote = sink.write(&lines(1..=1));
        assert_eq!((wrote.lines, wrote.error.unwrap().kind()), (0, io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_reader_that_is_stuck_blocks_nobody_and_later_gets_each_line_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = StreamSink::new("stdout", writer.into());
        let all = lines(1..=2000);
        let first = sink.write(&all);
        assert_eq!(first.error.unwrap().kind(), io::ErrorKind::WouldBlock);
        assert!(first.lines > 0 && first.lines < all.len());
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        let mut written = first.lines;
        while let Some(rest) = all.get(written..).filter(|rest| !rest.is_empty()) {
            written += sink.write(rest).lines;
        }
        drop(sink);
        let text = reading.join().unwrap();
        let expected: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
