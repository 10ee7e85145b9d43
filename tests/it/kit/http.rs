//! What an HTTP/1.1 origin answers, scripted byte by byte.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::origin::{drain, echo};

/// What an HTTP origin sends for one request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Sent before the body is read.
    interim: Vec<u8>,
    /// Whether the answer is sent before the body is read.
    early: bool,
    /// What is sent, piece by piece.
    pieces: Vec<Vec<u8>>,
    /// Whether each piece after the first waits for [`Origin::step`](super::origin::Origin::step).
    gated: bool,
    /// What comes after it.
    then: Then,
    /// The chunked body that trailers can be added to.
    open_trailers: bool,
}

/// What comes after a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Then {
    /// The next request.
    #[default]
    Next,
    /// The end of the connection.
    Close,
    /// An echo of what follows.
    Echo,
}

impl Reply {
    /// `200` with this body.
    pub fn ok(body: &str) -> Self {
        Self::status("200 OK", body)
    }

    /// This status with this body.
    pub fn status(status: &str, body: &str) -> Self {
        Self::raw(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    /// Exactly these bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { pieces: vec![bytes.into()], ..Self::default() }
    }

    /// `200` with a chunk for each of these.
    pub fn chunked<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pieces = vec![b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()];
        pieces
            .extend(chunks.into_iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes()));
        pieces.push(b"0\r\n\r\n".to_vec());
        Self { pieces, open_trailers: true, ..Self::default() }
    }

    /// Server-sent events; each one waits for [`Origin::step`](super::origin::Origin::step), and so does the end.
    pub fn events<'a>(events: impl IntoIterator<Item = &'a str>) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let mut pieces = vec![head.as_bytes().to_vec()];
        pieces.extend(events.into_iter().map(|event| format!("data: {event}\n\n").into_bytes()));
        pieces.push(Vec::new());
        Self { pieces, gated: true, then: Then::Close, ..Self::default() }
    }

    /// `101` to this protocol, then an echo.
    pub fn upgrade(protocol: &str) -> Self {
        let head =
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n");
        Self { then: Then::Echo, ..Self::raw(head) }
    }

    /// The same, after a `100 Continue` that is sent before the body is read.
    pub fn after_continue(self) -> Self {
        Self { interim: b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), ..self }
    }

    /// The same, without waiting for the request's body.
    pub fn early(self) -> Self {
        Self { early: true, ..self }
    }

    /// The same, and the end of the connection.
    pub fn then_close(self) -> Self {
        Self { then: Then::Close, ..self }
    }

    /// The same, each piece after the first held until [`Origin::step`](super::origin::Origin::step).
    pub fn step_by_step(self) -> Self {
        Self { gated: true, ..self }
    }

    /// The same, with a trailer behind its chunks.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        assert!(self.open_trailers, "only a chunked reply has trailers");
        let last = self.pieces.last_mut().expect("the last chunk");
        last.truncate(last.len() - 2);
        last.extend(format!("{name}: {value}\r\n\r\n").into_bytes());
        self
    }
}

/// Answers requests in turn.
pub(super) async fn serve(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    replies: &[Reply],
    steps: &Semaphore,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    for at in 0.. {
        let reply = replies.get(at).or(replies.last()).expect("at least one reply").clone();
        let head_end = loop {
            if let Some(found) = find(&buffer, b"\r\n\r\n") {
                break found + 4;
            }
            if io.read_buf(&mut buffer).await? == 0 {
                return io.shutdown().await;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
        buffer.drain(..head_end);
        io.write_all(&reply.interim).await?;
        if !reply.early {
            read_body(&mut io, &head, &mut buffer).await?;
        }
        for (number, piece) in reply.pieces.iter().enumerate() {
            if reply.gated && number > 0 {
                steps.acquire().await.expect("open").forget();
            }
            io.write_all(piece).await?;
            io.flush().await?;
        }
        if reply.early && reply.then == Then::Next {
            read_body(&mut io, &head, &mut buffer).await?;
        }
        match reply.then {
            Then::Next => {}
            Then::Close => {
                io.shutdown().await?;
                return drain(&mut io).await;
            }
            Then::Echo => {
                io.write_all(&buffer).await?;
                return echo(io).await;
            }
        }
    }
    Ok(())
}

/// Reads a request's body to its end and takes it out of `buffer`.
async fn read_body(
    io: &mut (impl AsyncRead + Unpin),
    head: &str,
    buffer: &mut Vec<u8>,
) -> std::io::Result<()> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let end = if field("transfer-encoding:").is_some_and(|value| value.contains("chunked")) {
        loop {
            if let Some(end) = chunked_end(buffer) {
                break end;
            }
            if io.read_buf(buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    } else {
        let length = field("content-length:").and_then(|value| value.parse().ok()).unwrap_or(0);
        while buffer.len() < length {
            if io.read_buf(buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        length
    };
    buffer.drain(..end);
    Ok(())
}

/// Where the chunked body at the start of `bytes` ends, its trailers included; `None` while it does not.
pub fn chunked_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = at + find(bytes.get(at..)?, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        at = line + 2;
        if size > 0 {
            at += size + 2;
            continue;
        }
        loop {
            let line = find(bytes.get(at..)?, b"\r\n")?;
            at += line + 2;
            if line == 0 {
                return Some(at);
            }
        }
    }
}

/// Where `part` first is.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
