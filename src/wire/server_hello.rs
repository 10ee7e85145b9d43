//! The first message of a TLS server, as far as it says whether the client must send another hello (RFC 8446 §4.1.4).
//!
//! Nothing is kept but where in the message the scan stands.

/// The random of a `ServerHello` that is a `HelloRetryRequest` (RFC 8446 §4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// The length of a record's header.
const HEADER: usize = 5;
/// The length of a message's type and length.
const MESSAGE: usize = 4;
/// Where the random is in the message: after type, length and version.
const RANDOM: usize = 6;

/// Reads what a server sends, in pieces of any size.
///
/// | bytes | mean |
/// |---|---|
/// | a `ServerHello` with the random of a `HelloRetryRequest`, in any records | one [retry](Self::retries) more |
/// | an alert, a `ChangeCipherSpec`, an empty record | nothing |
/// | a part of these, cut anywhere | nothing yet |
/// | anything else: another message, another version, no TLS at all | [the end](Self::is_over) of the hellos |
///
/// SECURITY: an alert may be a warning before the real answer, so it decides nothing. A server that keeps no state may ask
/// for more than one retry.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    /// How many retries were asked for.
    retries: usize,
    /// Whether something else came.
    over: bool,
    /// The next byte's place in its record's header; past the header, the header's length.
    at: usize,
    /// Whether the record is a part of the handshake.
    handshake: bool,
    /// The bytes of the record that are still to come.
    left: usize,
    /// The next byte's place in the message.
    read: usize,
    /// The length of the message, as far as it was read.
    length: usize,
}

impl Scanner {
    /// A scanner before the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often the server has asked for another hello.
    #[must_use]
    pub const fn retries(&self) -> usize {
        self.retries
    }

    /// Whether the server has said something after which it takes no hello any more; what comes then is not read.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes note that the server says no more.
    pub const fn end(&mut self) {
        self.over = true;
    }

    /// Takes the next bytes.
    pub fn advance(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.over {
                return;
            }
            self.step(*byte);
        }
    }

    /// Takes one byte.
    fn step(&mut self, byte: u8) {
        if self.at == HEADER {
            self.left -= 1;
            if self.left == 0 {
                self.at = 0;
            }
            if self.handshake {
                self.message(byte);
            }
            return;
        }
        match self.at {
            0 => {
                self.over = !matches!(byte, 0x14..=0x16);
                self.handshake = byte == 0x16;
            }
            1 => self.over = byte != 3,
            3 => self.left = usize::from(byte) << 8,
            4 => self.left |= usize::from(byte),
            _ => {}
        }
        self.at += 1;
        if self.at == HEADER && self.left == 0 {
            self.at = 0;
        }
    }

    /// Takes one byte of a message.
    fn message(&mut self, byte: u8) {
        match self.read {
            0 => {
                self.over = byte != 2;
                self.length = 0;
            }
            1..=3 => self.length = self.length << 8 | usize::from(byte),
            at => {
                let random = at.checked_sub(RANDOM).and_then(|at| RETRY.get(at));
                self.over = random.is_some_and(|random| *random != byte);
            }
        }
        self.read += 1;
        if self.read == RANDOM + RETRY.len() && !self.over {
            self.retries += 1;
        }
        if self.read >= RANDOM + RETRY.len() && self.read >= MESSAGE + self.length {
            self.read = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    /// A provider that knows these groups only.
    fn provider(
        groups: &[&'static dyn rustls::crypto::SupportedKxGroup],
    ) -> Arc<rustls::crypto::CryptoProvider> {
        Arc::new(rustls::crypto::CryptoProvider { kx_groups: groups.to_vec(), ..default_provider() })
    }

    /// What a real server answers to a real client that prefers X25519.
    fn real(
        groups: &[&'static dyn rustls::crypto::SupportedKxGroup],
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config =
            ServerConfig::builder_with_provider(provider(groups)).with_protocol_versions(&[version]).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let groups = provider(&[kx_group::X25519, kx_group::SECP384R1]);
        let config =
            ClientConfig::builder_with_provider(groups).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), "a.example".try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        answer
    }

    /// The answer to a whole: how many retries, and whether it says something else.
    fn scan(bytes: &[u8]) -> (usize, bool) {
        let mut scanner = Scanner::new();
        scanner.advance(bytes);
        (scanner.retries(), scanner.is_over())
    }

    /// Something else at once.
    const OTHER: (usize, bool) = (0, true);
    /// Nothing yet.
    const NOTHING: (usize, bool) = (0, false);
    /// A retry, and nothing else so far.
    const ONE: (usize, bool) = (1, false);

    /// The first message of a server, in records of these lengths, the last length over and over.
    fn records(message: &[u8], lengths: &[usize]) -> Vec<u8> {
        let mut lengths = lengths.iter().copied();
        let (mut out, mut rest, mut length) = (Vec::new(), message, 1);
        while !rest.is_empty() {
            length = lengths.next().unwrap_or(length).clamp(1, rest.len());
            let (payload, after) = rest.split_at(length);
            out.extend([0x16, 3, 3]);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
            out.extend(payload);
            rest = after;
        }
        out
    }

    /// A `ServerHello` with this random.
    fn hello(random: [u8; 32]) -> Vec<u8> {
        let extensions = [0, 0x2b, 0, 2, 3, 4, 0, 0x33, 0, 2, 0, 0x18];
        [&[2, 0, 0, 52, 3, 3][..], &random, &[0, 0x13, 1, 0, 0, 12], &extensions].concat()
    }

    /// Another random.
    fn another(at: usize) -> [u8; 32] {
        let mut random = RETRY;
        random[at] ^= 1;
        random
    }

    #[test]
    fn real_servers_are_told_apart() {
        assert_eq!(scan(&real(&[kx_group::SECP384R1], &rustls::version::TLS13)), ONE);
        assert_eq!(scan(&real(&[kx_group::X25519], &rustls::version::TLS13)), OTHER);
        assert_eq!(scan(&real(&[kx_group::SECP384R1], &rustls::version::TLS12)), OTHER);
    }

    #[test]
    fn what_is_no_retry_is_something_else_whatever_it_is() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"SSH-2.0-x\r\n",
            b"\x16\x02",
            b"\x17\x03\x03\x00\x01\x00",
            b"\x16\x03\x03\x00\x04\x01\x00\x00\x00",
            b"\x16\x03\x03\x00\x26\x02\x00\x00\x22\x03\x03\x00",
        ] {
            assert_eq!(scan(bytes), OTHER, "{}", bytes.escape_ascii());
        }
        for at in 0..32 {
            assert_eq!(scan(&records(&hello(another(at)), &[1000])), OTHER, "{at}");
        }
    }

    #[test]
    fn i1_what_a_server_may_say_before_its_answer_hides_no_retry() {
        let retry = records(&hello(RETRY), &[1000]);
        for before in [
            &b"\x15\x03\x03\x00\x02\x01\x70"[..],
            b"\x14\x03\x03\x00\x01\x01",
            b"\x15\x03\x01\x00\x02\x01\x70\x14\x03\x03\x00\x01\x01",
            b"\x16\x03\x03\x00\x00",
        ] {
            assert_eq!(scan(before), NOTHING, "{}", before.escape_ascii());
            assert_eq!(scan(&[before, &retry].concat()), ONE, "{}", before.escape_ascii());
            // What it says next is looked at as well.
            let more = [&retry, before, &retry, &records(&hello(another(31)), &[7])].concat();
            assert_eq!(scan(&more), (2, true), "{}", before.escape_ascii());
        }
        let joined = records(&[hello(RETRY), hello(RETRY), hello(another(0))].concat(), &[1000]);
        assert_eq!(scan(&joined), (2, true), "several messages in one record");
        let mut short = hello(RETRY);
        short[3] = 0;
        assert_eq!(scan(&records(&short, &[1000])), (1, true), "one whose length is a lie");
    }

    proptest! {
        #[test]
        fn i1_any_records_and_segments_give_the_same_answer(
            flip in prop::option::of(0usize..32),
            lengths in prop::collection::vec(1usize..60, 1..8),
            segments in prop::collection::vec(1usize..60, 1..8),
        ) {
            let last = hello(flip.map_or(RETRY, another));
            let bytes = records(&[hello(RETRY), last].concat(), &lengths);
            let whole = if flip.is_some() { (1, true) } else { (2, false) };
            prop_assert_eq!(scan(&bytes), whole);
            let (mut scanner, mut rest, mut sizes) = (Scanner::new(), bytes.as_slice(), segments.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                scanner.advance(now);
                rest = later;
            }
            prop_assert_eq!((scanner.retries(), scanner.is_over()), whole);
        }

        #[test]
        fn no_part_of_a_retry_is_anything_yet(
            lengths in prop::collection::vec(1usize..60, 1..8), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = records(&hello(RETRY)[..38], &lengths);
            prop_assert_eq!(scan(&bytes[..cut.index(bytes.len())]), NOTHING);
            prop_assert_eq!(scan(&bytes), ONE);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(0u8..0x18, 0..300)) {
            let (retries, over) = scan(&bytes);
            prop_assert!(retries == 0 || !over || bytes.len() > 38);
        }
    }
}
