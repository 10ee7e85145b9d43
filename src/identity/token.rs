//! Tokens of sandboxes: held padded, compared in constant time, never shown.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 256;
/// The longest `id:token`, decoded, in bytes.
const MAX_PAIR: usize = 512;
/// Clients write the padding of RFC 7617 or leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token, padded to one length so that comparing says nothing about its own. Has no `Debug`.
pub(super) struct Token {
    /// The bytes, then zeros.
    padded: Box<Zeroizing<[u8; MAX_TOKEN]>>,
    /// How many bytes are the token's.
    length: u64,
}

impl Token {
    /// A token to compare with; `None` when it is empty or longer than [`MAX_TOKEN`].
    pub(super) fn new(secret: &SecretString) -> Option<Self> {
        let secret = secret.expose_secret().as_bytes();
        let length = u64::try_from(secret.len()).ok().filter(|length| *length > 0)?;
        Some(Self { padded: Box::new(pad(secret)?), length })
    }

    /// A token that nothing equals: what an unknown id is compared with, to take as long as a known one.
    pub(super) fn unmatchable() -> Self {
        Self { padded: Box::new(Zeroizing::new([0; MAX_TOKEN])), length: u64::MAX }
    }

    /// Whether both are the same, in a time that depends on neither.
    pub(super) fn is(&self, other: &Self) -> bool {
        let same: Choice = self.padded.as_slice().ct_eq(other.padded.as_slice());
        (same & self.length.ct_eq(&other.length)).into()
    }

    /// Whether this is the token shown, in a time that depends on neither.
    pub(super) fn matches(&self, shown: &[u8]) -> bool {
        let (Some(padded), Ok(length)) = (pad(shown), u64::try_from(shown.len())) else { return false };
        let same: Choice = self.padded.as_slice().ct_eq(padded.as_slice());
        (same & self.length.ct_eq(&length)).into()
    }
}

/// `bytes` followed by zeros; `None` when they are too many.
fn pad(bytes: &[u8]) -> Option<Zeroizing<[u8; MAX_TOKEN]>> {
    let mut padded = Zeroizing::new([0; MAX_TOKEN]);
    padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(padded)
}

/// Calls `judge` with the id and token of a `Proxy-Authorization` value, `Basic base64(id:token)`
/// (RFC 7617); `None` when it is not one.
pub(super) fn with_basic<T>(credentials: &str, judge: impl FnOnce(&str, &[u8]) -> T) -> Option<T> {
    let (scheme, encoded) = credentials.trim_matches([' ', '\t']).split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut pair = Zeroizing::new([0_u8; MAX_PAIR]);
    let length = BASE64.decode_slice(encoded.trim_start_matches(' '), pair.as_mut_slice()).ok()?;
    let pair = pair.get(..length)?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (id, token) = pair.split_at_checked(colon)?;
    let (_, token) = token.split_first()?;
    Some(judge(std::str::from_utf8(id).ok()?, token))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The parts of a header value.
    fn parts(value: &str) -> Option<(String, Vec<u8>)> {
        with_basic(value, |id, token| (id.to_owned(), token.to_vec()))
    }

    #[test]
    fn basic_credentials_are_split_at_the_first_colon() {
        let pair = |id: &str, token: &str| Some((id.to_owned(), token.as_bytes().to_vec()));
        assert_eq!(parts("Basic c2J4LTE6czNjcmV0"), pair("sbx-1", "s3cret"));
        assert_eq!(parts("bASIC   YTpiOmM="), pair("a", "b:c"));
        assert_eq!(parts(" Basic YTpiOmM\t"), pair("a", "b:c"));
        assert_eq!(parts("Basic Og=="), pair("", ""));
    }

    #[test]
    fn what_is_not_basic_credentials_gives_nothing() {
        let long = format!("Basic {}", BASE64.encode([b'a'; MAX_PAIR + 1]));
        for value in
            ["", "Basic", "Basic ", "Bearer YTpi", "Basic YTpi!", "Basic YWI=", "Basic /zph", long.as_str()]
        {
            assert!(parts(value).is_none(), "{value:?}");
        }
    }

    #[test]
    fn a_token_matches_itself_only() {
        let token = Token::new(&"s3cret".into()).unwrap();
        assert!(token.matches(b"s3cret"));
        for shown in [&b""[..], b"s3cre", b"s3cret\0", b"S3cret", b"s3cret2", &[b's'; MAX_TOKEN + 1]] {
            assert!(!token.matches(shown), "{shown:?}");
        }
        assert!(!Token::unmatchable().matches(b"") && !Token::unmatchable().matches(&[0; MAX_TOKEN]));
    }

    #[test]
    fn empty_and_overlong_tokens_are_refused() {
        assert!(Token::new(&"".into()).is_none());
        assert!(Token::new(&"t".repeat(MAX_TOKEN).into()).is_some());
        assert!(Token::new(&"t".repeat(MAX_TOKEN + 1).into()).is_none());
    }
}
